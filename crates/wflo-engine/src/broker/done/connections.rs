//! The connections that a generation of a step made, by what they were to and how.
//!
//! Owns how events become groups, and how many requests of one are named. How many groups people are shown is
//! `evidence`'s.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};
use wflo_core::event::EventBody;

/// So many requests of a group are named, of methods that may change something and of others.
const REQUESTS: (usize, usize) = (20, 3);
/// Methods that ask for something and change nothing, as far as the method says.
const READS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// Connections of one kind: to the same host and port, by the same method where it can be seen.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Way {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) method: Option<String>,
    /// How it was reached, where nobody could see a method: `tls`, `tcp`.
    way: String,
    /// Different requests, each once, in the order in which they were made; as many as are named.
    requests: Vec<String>,
    /// How often one was made that is not named.
    requests_more: u64,
    /// Secrets whose values were sent, by name.
    secrets: BTreeSet<String>,
    pub(super) times: u64,
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

    pub(super) fn shown(&self) -> Value {
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
pub(super) struct Rest {
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
    pub(super) fn add(&mut self, way: &Way) {
        self.groups += 1;
        self.connections += way.times;
        self.refused += way.refused;
        self.sent_bytes += way.sent;
        self.received_bytes += way.received;
    }
}

/// The connections of one generation of a step.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Connections {
    pub(super) ways: Vec<Way>,
    /// Those that have no event of their own; they went to hosts that one names.
    pub(super) uncounted: Rest,
    /// Which of the ways a connection of the present attempt is.
    pub(super) open: HashMap<u64, usize>,
    /// The events are those of another generation.
    elsewhere: bool,
}

impl Connections {
    pub(super) fn made(&self) -> u64 {
        self.ways.iter().map(|way| way.times).sum::<u64>() + self.uncounted.connections
    }

    /// In the order in which a person should read them; among equals, by what was sent.
    pub(super) fn by_weight(&self) -> Vec<&Way> {
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
    pub(super) fn see(&mut self, body: EventBody, (mine, now): (&str, u32)) {
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

#[cfg(test)]
mod tests {
    use super::super::tests::{closed, of, opened, started};
    use super::*;

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
}
