//! What people are shown of what was done, and how much of it.
//!
//! Owns the bounds: what is beyond one is counted, and nothing is left out without a word.

use serde_json::{Value, json};
use wflo_core::canonical::Digest;

use super::Done;
use super::connections::Rest;

/// The most groups of connections that are shown.
const SHOWN: usize = 100;
/// Bytes of commands that a question keeps, of those that ran and of those that were refused: all of them, as long as
/// nobody has made it a flood.
const KEPT: (usize, usize) = (192 << 10, 64 << 10);

impl Done {
    /// Adds it to what people are shown.
    pub(in crate::broker) fn show(&self, evidence: &mut Value) {
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

#[cfg(test)]
mod tests {
    use wflo_core::error::{Code, Failure};
    use wflo_core::event::EventBody;

    use super::super::tests::{argv, closed, of, opened, running, started};
    use super::*;

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
