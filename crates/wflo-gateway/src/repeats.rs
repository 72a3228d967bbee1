//! Calls that go round in circles: the same request, or the same tool giving the same result, again and
//! again by one caller.
//!
//! Owns what is alike and how often it came; what is done about it is the settings'. It keeps hashes
//! only, a bounded number of them of a bounded number of callers, and reads a body once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialect::json::Fields;

/// `[repeats]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeats {
    /// From how many on it counts as a circle.
    pub same: u32,
    /// Requests that differ in white space, ids and times alone are the same too.
    pub near: bool,
    /// What is done.
    pub action: OnRepeat,
}

/// What is done about a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRepeat {
    /// It is logged.
    Warn,
    /// The call is refused.
    Halt,
    /// People are asked before it is made; by whoever keeps the journal, who alone knows what they said.
    Ask,
}

/// A call of a caller whose circles people are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circle {
    /// How often it has made this call lately, this time included.
    pub times: u32,
    /// That is as often as makes a circle.
    pub closed: bool,
}

/// How many calls of a caller are remembered.
const CALLS: usize = 64;

/// How many callers are.
const CALLERS: usize = 1_024;

/// Only the end of a conversation is read for its last tool.
const TAIL: usize = 8;

type Print = [u8; 16];

/// The latest calls of each caller.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    callers: Mutex<HashMap<String, Caller>>,
}

#[derive(Debug, Default)]
struct Caller {
    calls: VecDeque<(Print, Option<Print>)>,
    /// For the one that is forgotten first.
    last: u64,
}

impl Seen {
    /// How often the caller has made this call lately, this time included. `exact` is the request's own
    /// fingerprint.
    pub(crate) fn count(&self, settings: &Repeats, caller: &str, exact: &str, body: &[u8]) -> u32 {
        let whole = if settings.near { near(body) } else { print(exact.as_bytes()) };
        let tool = last_tool(body);
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let now = callers.values().map(|caller| caller.last).max().unwrap_or(0) + 1;
        if callers.len() >= CALLERS && !callers.contains_key(caller) {
            let oldest = callers.iter().min_by_key(|(_, caller)| caller.last).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| callers.remove(&oldest));
        }
        let known = callers.entry(caller.to_owned()).or_default();
        known.last = now;
        if known.calls.len() == CALLS {
            known.calls.pop_front();
        }
        known.calls.push_back((whole, tool));
        let same = known.calls.iter().filter(|(print, _)| *print == whole).count();
        // A tool counts while nothing else comes between: asking it again later is no circle.
        let tools =
            tool.map_or(0, |_| known.calls.iter().rev().take_while(|(_, print)| *print == tool).count());
        u32::try_from(same.max(tools)).unwrap_or(u32::MAX)
    }

    /// The caller's counts begin anew.
    pub(crate) fn begin_anew(&self, caller: &str) {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner).remove(caller);
    }
}

fn print(bytes: &[u8]) -> Print {
    let mut print = [0; 16];
    print.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    print
}

/// Of a body without its white space, and with every id and every time as one.
fn near(body: &[u8]) -> Print {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((&byte, after)) = rest.split_first() {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => rest = after,
            b'\\' if matches!(after.first(), Some(b'n' | b'r' | b't')) => rest = &after[1..],
            _ if is_word(byte) => {
                let end = word(rest);
                let (word, after) = rest.split_at(end);
                if is_id(word) {
                    out.push(b'#')
                } else {
                    out.extend_from_slice(word)
                }
                rest = after;
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    print(&out)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// The end of a word; what stands between two digits of a time belongs to it.
fn word(text: &[u8]) -> usize {
    let digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    let inside =
        |at: usize| matches!(text[at], b':' | b'.' | b'+') && at > 0 && digit(at - 1) && digit(at + 1);
    (0..text.len()).find(|at| !is_word(text[*at]) && !inside(*at)).unwrap_or(text.len())
}

/// Ids and times: long, and with digits.
fn is_id(word: &[u8]) -> bool {
    word.len() >= 8 && word.iter().filter(|byte| byte.is_ascii_digit()).count() >= 2
}

/// Of the last tool that was called and what it gave, where the request ends with that.
fn last_tool(body: &[u8]) -> Option<Print> {
    let fields = Fields::read(body).ok()?;
    let list = ["messages", "input", "contents"].iter().find_map(|name| fields.get(name))?;
    let all: Vec<&RawValue> = serde_json::from_str(list.value).ok()?;
    let tail = all.iter().rev().take(TAIL).map(|raw| serde_json::from_str::<Value>(raw.get()));
    let tail: Vec<Value> = tail.collect::<Result<_, _>>().ok()?;
    let result = tail.first().and_then(|last| found(last, &RESULTS))?;
    let call = tail.iter().find_map(|message| found(message, &CALLED))?;
    Some(print(format!("{call}\n{result}").as_bytes()))
}

/// Where the dialects have the result of a tool, and its call; ids are left out.
const RESULTS: [&[&str]; 3] =
    [&["tool_result", "content"], &["function_call_output", "output"], &["functionResponse", "response"]];
const CALLED: [&[&str]; 3] = [
    &["tool_use", "name", "input"],
    &["function_call", "name", "arguments"],
    &["functionCall", "name", "args"],
];

/// What a message says of a tool, in any dialect.
fn found(message: &Value, kinds: &[&[&str]; 3]) -> Option<String> {
    let results = kinds[0][0] == "tool_result";
    // OpenAI's and Cohere's: a message of the role `tool`, a list of `tool_calls`.
    if results && message["role"] == "tool" {
        return Some(message["content"].to_string());
    }
    if let Some(calls) = message["tool_calls"].as_array().filter(|calls| !results && !calls.is_empty()) {
        return Some(calls.iter().map(|call| call["function"].to_string()).collect());
    }
    let own = std::slice::from_ref(message);
    let parts = message["content"].as_array().or(message["parts"].as_array()).map_or(own, Vec::as_slice);
    let said = parts.iter().filter_map(|part| {
        let kind = kinds.iter().find(|kind| part["type"] == kind[0] || !part[kind[0]].is_null())?;
        let inner = if part["type"] == kind[0] { part } else { &part[kind[0]] };
        Some(kind[1..].iter().map(|name| inner[*name].to_string()).collect::<String>())
    });
    let said: String = said.collect();
    (!said.is_empty()).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: Repeats = Repeats { same: 3, near: false, action: OnRepeat::Halt };
    const NEAR: Repeats = Repeats { near: true, ..EXACT };

    #[test]
    fn the_same_request_is_counted_by_caller() {
        let seen = Seen::default();
        assert_eq!(seen.count(&EXACT, "a", "1", b"{}"), 1);
        assert_eq!(seen.count(&EXACT, "a", "2", b"{}"), 1);
        assert_eq!(seen.count(&EXACT, "a", "1", b"{}"), 2);
        assert_eq!(seen.count(&EXACT, "b", "1", b"{}"), 1);
    }

    #[test]
    fn counts_begin_anew_once_people_have_let_a_caller_go_on() {
        let seen = Seen::default();
        for caller in ["a", "b"] {
            assert_eq!([1, 2].map(|_| seen.count(&EXACT, caller, "1", b"{}")), [1, 2]);
        }
        seen.begin_anew("a");
        assert_eq!(seen.count(&EXACT, "a", "1", b"{}"), 1);
        assert_eq!(seen.count(&EXACT, "b", "1", b"{}"), 3);
    }

    #[test]
    fn ids_times_and_white_space_are_as_one_and_nothing_else_is() {
        let same = [
            r#"{"messages":[{"role":"user","content":"at 2026-11-29T04:00:01Z do call_a1b2c3d4"}]}"#,
            r#"{ "messages": [{"role":"user","content":"at 2026-11-29T04:07:59.5Z\n do call_99ffee00"}]}"#,
        ];
        assert_eq!(near(same[0].as_bytes()), near(same[1].as_bytes()));
        let other = same[0].replace("do", "undo");
        assert_ne!(near(same[0].as_bytes()), near(other.as_bytes()));
        assert_ne!(near(b"{\"page\":1}"), near(b"{\"page\":2}"), "small numbers mean something");
        assert_ne!(near(b"caf\xc3\xa9"), near(b"caf\xc3\xa8"));
        let seen = Seen::default();
        assert_eq!(seen.count(&NEAR, "a", "1", same[0].as_bytes()), 1);
        assert_eq!(seen.count(&NEAR, "a", "2", same[1].as_bytes()), 2);
    }

    #[test]
    fn a_tool_that_gives_the_same_again_is_a_circle_in_every_dialect() {
        let openai = |n: u32, out: &str| {
            format!(
                r#"{{"messages":[{{"role":"user","content":"{n}"}},{{"role":"assistant","tool_calls":[{{"id":"c{n}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}]}},{{"role":"tool","tool_call_id":"c{n}","content":"{out}"}}]}}"#
            )
        };
        let anthropic = |n: u32, out: &str| {
            format!(
                r#"{{"messages":[{{"role":"user","content":"{n}"}},{{"role":"assistant","content":[{{"type":"tool_use","id":"t{n}","name":"f","input":{{}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"t{n}","content":"{out}"}}]}}]}}"#
            )
        };
        let responses = |n: u32, out: &str| {
            format!(
                r#"{{"input":[{{"role":"user","content":"{n}"}},{{"type":"function_call","call_id":"c{n}","name":"f","arguments":"{{}}"}},{{"type":"function_call_output","call_id":"c{n}","output":"{out}"}}]}}"#
            )
        };
        let google = |n: u32, out: &str| {
            format!(
                r#"{{"contents":[{{"role":"user","parts":[{{"text":"{n}"}}]}},{{"role":"model","parts":[{{"functionCall":{{"name":"f","args":{{}}}}}}]}},{{"role":"user","parts":[{{"functionResponse":{{"name":"f","response":{{"o":"{out}"}}}}}}]}}]}}"#
            )
        };
        let dialects: [fn(u32, &str) -> String; 4] = [openai, anthropic, responses, google];
        for (nth, body) in dialects.into_iter().enumerate() {
            let seen = Seen::default();
            let count = |n: u32, out: &str| seen.count(&EXACT, "a", &n.to_string(), body(n, out).as_bytes());
            assert_eq!([count(1, "x"), count(2, "x"), count(3, "x")], [1, 2, 3], "dialect {nth}");
            assert_eq!([count(4, "y"), count(5, "x")], [1, 1], "another result between them: {nth}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let seen = Seen::default();
        for caller in 0..CALLERS + 10 {
            seen.count(&EXACT, &caller.to_string(), "1", b"{}");
        }
        for call in 0..CALLS + 10 {
            seen.count(&EXACT, "x", &call.to_string(), b"{}");
        }
        let callers = seen.callers.lock().unwrap();
        assert!(callers.len() <= CALLERS && callers["x"].calls.len() == CALLS);
    }
}
