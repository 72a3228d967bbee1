//! What a step has done beside its writes to databases: the commands that it ran, and the connections that it
//! made to hosts, in every attempt of its generation.
//!
//! Owns how this is read from the run's record, and how it is put to people. What a step sends by itself it
//! sends again when it is resumed, so a connection of an earlier attempt counts like one of this.

use std::collections::HashMap;

use serde_json::{Value, json};
use wflo_core::effect::{EffectKind, EffectRecord};
use wflo_core::event::EventBody;

use super::Broker;
use crate::error::EngineError;

/// So many events are read at once; they may be large.
const PAGE: u32 = 64;
/// The most commands and the most connections that are shown of each.
const SHOWN: usize = 100;
/// The longest command that is shown, in characters.
const COMMAND: usize = 2_000;
/// So many hosts are in a question's title.
const TITLED: usize = 3;

/// What was done.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Done {
    /// Each as one line.
    commands: Vec<String>,
    connections: Connections,
}

impl Done {
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.connections.ways.is_empty()
    }

    /// What an approval of the output is for beside the output: what was run, and what was reached how. Bytes
    /// and paths differ when a step is resumed; the same step at another host or by another method is another
    /// thing.
    pub(super) fn action(&self) -> Value {
        let mut reached: Vec<Value> = Vec::new();
        for way in &self.connections.ways {
            let method = way.request.as_ref().and_then(|request| request.split(' ').next());
            let one = json!([way.host, way.port, method]);
            if !reached.contains(&one) {
                reached.push(one);
            }
        }
        json!({ "commands": self.commands, "reached": reached })
    }

    /// `ran 2 commands and made 3 connections to a.example:443, b.example:443 and 2 more`; empty where nothing
    /// was done.
    pub(super) fn title(&self) -> String {
        let count = |number: u64, what: &str| match number {
            1 => format!("1 {what}"),
            number => format!("{number} {what}s"),
        };
        let mut parts = Vec::new();
        if !self.commands.is_empty() {
            parts.push(format!("ran {}", count(self.commands.len() as u64, "command")));
        }
        if !self.connections.ways.is_empty() {
            let mut hosts: Vec<String> = Vec::new();
            for way in &self.connections.ways {
                let host = format!("{}:{}", way.host, way.port);
                if !hosts.contains(&host) {
                    hosts.push(host);
                }
            }
            let more = hosts.len().saturating_sub(TITLED);
            hosts.truncate(TITLED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let made = count(self.connections.made(), "connection");
            parts.push(format!("made {made} to {}{more}", hosts.join(", ")));
        }
        parts.join(" and ")
    }

    /// Adds it to what people are shown.
    pub(super) fn show(&self, evidence: &mut Value) {
        if !self.commands.is_empty() {
            evidence["commands"] = json!(self.commands.iter().take(SHOWN).collect::<Vec<_>>());
            if self.commands.len() > SHOWN {
                evidence["commands_more"] = json!(self.commands.len() - SHOWN);
            }
        }
        let Connections { ways, more, .. } = &self.connections;
        if !ways.is_empty() {
            evidence["connections"] = ways.iter().take(SHOWN).map(Way::shown).collect();
            let left: u64 = ways.iter().skip(SHOWN).map(|way| way.times).sum();
            if left + more > 0 {
                evidence["connections_more"] = json!(left + more);
            }
        }
    }
}

/// Connections of one kind: to the same host, port, and, where it is known, with the same request.
#[derive(Debug, PartialEq)]
struct Way {
    host: String,
    port: u16,
    way: String,
    request: Option<String>,
    times: u64,
    /// Of those whose end is known.
    sent: u64,
    received: u64,
    /// Connections whose end is not: their engine died.
    unknown: u64,
}

impl Way {
    fn shown(&self) -> Value {
        let mut shown = json!({
            "host": self.host,
            "port": self.port,
            "way": self.way,
            "times": self.times,
            "sent_bytes": self.sent,
            "received_bytes": self.received,
        });
        if let Some(request) = &self.request {
            shown["request"] = json!(request);
        }
        if self.unknown > 0 {
            shown["bytes_unknown_of"] = json!(self.unknown);
        }
        shown
    }
}

/// The connections of one generation of a step.
#[derive(Debug, Default, PartialEq)]
struct Connections {
    ways: Vec<Way>,
    /// Those that have no event of their own; they went to hosts that one names.
    more: u64,
    /// Which of the ways a connection of the present attempt is.
    open: HashMap<u64, usize>,
    /// The events are those of another generation.
    elsewhere: bool,
}

impl Connections {
    fn made(&self) -> u64 {
        self.ways.iter().map(|way| way.times).sum::<u64>() + self.more
    }

    /// Takes the next event of the run into account.
    fn see(&mut self, body: EventBody, (mine, now): (&str, u32)) {
        match body {
            EventBody::StepStarted { step, generation, .. } if step == mine => {
                self.open.clear();
                self.elsewhere = generation != now;
            }
            _ if self.elsewhere => {}
            EventBody::EgressOpened { step, connection, host, port, way, request, .. } if step == mine => {
                let same = |known: &Way| {
                    known.host == host && known.port == port && known.way == way && known.request == request
                };
                let place = self.ways.iter().position(same).unwrap_or_else(|| {
                    let (times, sent, received, unknown) = (0, 0, 0, 0);
                    self.ways.push(Way { host, port, way, request, times, sent, received, unknown });
                    self.ways.len() - 1
                });
                self.ways[place].times += 1;
                self.ways[place].unknown += 1;
                self.open.insert(connection, place);
            }
            EventBody::EgressClosed { step, connection, sent_bytes, received_bytes, .. } if step == mine => {
                if let Some(way) = self.open.remove(&connection).and_then(|place| self.ways.get_mut(place)) {
                    way.unknown -= 1;
                    way.sent += sent_bytes;
                    way.received += received_bytes;
                }
            }
            EventBody::EgressMore { step, connections, .. } if step == mine => self.more += connections,
            _ => {}
        }
    }
}

impl Broker {
    /// What this generation has done; `command` is the one that the step itself is.
    pub(super) async fn done(&self, command: Option<&[String]>) -> Result<Done, EngineError> {
        let store = &self.services.store;
        let mut commands: Vec<String> = command.map(one_line).into_iter().collect();
        let mut tools = self.journal.all();
        tools.retain(|row| row.kind == EffectKind::Tool);
        tools.sort_by_key(|row| (row.order().unwrap_or(u32::MAX), row.started_at));
        for EffectRecord { key, .. } in tools {
            if let Some(row) = self.journal.whole(&key.path, key.seq).await? {
                let request = row.request.into_here().unwrap_or_default();
                commands.push(one_line(&argv_of(&request)));
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

/// The words of a command that a step asks for.
pub(super) fn argv_of(request: &Value) -> Vec<String> {
    let words = request["argv"].as_array().into_iter().flatten();
    words.map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect()
}

/// A command on one line.
pub(super) fn one_line(argv: &[String]) -> String {
    argv.join(" ").chars().take(COMMAND).collect()
}

#[cfg(test)]
mod tests {
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
                    "host": "a.example", "port": 443, "way": "https", "request": "DELETE /v1/x", "times": 2,
                    "sent_bytes": 100, "received_bytes": 7, "bytes_unknown_of": 1
                },
                {
                    "host": "b.example", "port": 443, "way": "https", "request": "GET /", "times": 1,
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
    fn more_than_is_shown_is_counted() {
        let many = (0..150).map(|n| opened("two", n, &format!("h{n}.example"), "GET /"));
        let done = of(std::iter::once(started(2, 1)).chain(many).collect());
        let mut evidence = json!({});
        done.show(&mut evidence);
        assert_eq!(evidence["connections"].as_array().unwrap().len(), SHOWN);
        assert_eq!(evidence["connections_more"], 50);
        assert!(done.title().ends_with("h2.example:443 and 147 more"), "{}", done.title());
    }
}
