//! The parts of a request, so that a call that has no recorded answer can be told what is another in it.
//!
//! Owns what is kept of a request beside its fingerprint: for each field, and each element of a list such as
//! `messages`, a few digits of a hash of its bytes. No text of a request is kept, and no more than [`MOST`] parts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// At most so many parts are kept of one request.
const MOST: usize = 64;
/// Of a list its first and its last elements: a conversation grows at its end, and begins with its instructions.
const FIRST: usize = 8;
const LAST: usize = 24;
/// At most so many differences are told.
const TOLD: usize = 4;
/// At most so many characters of a field's name are told.
const NAME: usize = 40;

/// The parts of one request: where each stands, and a hash of it. `messages[]` is how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Parts(BTreeMap<String, String>);

/// One part of a request that is there.
struct Piece<'a> {
    place: Place<'a>,
    raw: &'a str,
}

/// Where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place<'a> {
    Field(&'a str),
    Inner(&'a str, String),
    Element(&'a str, usize),
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Field(name) => write!(f, "{}", short(name)),
            Place::Inner(name, inner) => write!(f, "{}.{}", short(name), short(inner)),
            Place::Element(name, at) => write!(f, "{}[{at}]", short(name)),
        }
    }
}

fn short(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).take(NAME).collect()
}

type Object<'a> = Vec<(String, &'a RawValue)>;

/// The fields of an object, in their order.
fn object(text: &str) -> Option<Object<'_>> {
    struct Fields;
    impl<'de> serde::de::Visitor<'de> for Fields {
        type Value = Object<'de>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut fields = Vec::new();
            while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                fields.push((name, value));
            }
            Ok(fields)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    serde::Deserializer::deserialize_map(&mut reader, Fields).ok()
}

/// Every part of a request, and how long each list is.
fn pieces<'a>(fields: &'a Object<'a>) -> (Vec<Piece<'a>>, BTreeMap<&'a str, usize>) {
    let (mut pieces, mut lists) = (Vec::new(), BTreeMap::new());
    for (name, value) in fields {
        let raw = value.get();
        if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(raw) {
            lists.insert(name.as_str(), elements.len());
            let elements = elements.into_iter().enumerate();
            pieces
                .extend(elements.map(|(at, one)| Piece { place: Place::Element(name, at), raw: one.get() }));
        } else if let Some(inner) = object(raw).filter(|inner| !inner.is_empty()) {
            let inner = inner.into_iter();
            pieces.extend(inner.map(|(key, one)| Piece { place: Place::Inner(name, key), raw: one.get() }));
        } else {
            pieces.push(Piece { place: Place::Field(name), raw });
        }
    }
    (pieces, lists)
}

fn hash(raw: &str) -> String {
    let hash = blake3::hash(raw.as_bytes());
    hash.as_bytes().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

impl Parts {
    /// What is kept of a request; nothing of one that is no JSON object.
    pub(crate) fn of(body: &[u8]) -> Parts {
        let Some(fields) = std::str::from_utf8(body).ok().and_then(object) else { return Parts::default() };
        let (pieces, lists) = pieces(&fields);
        let is_kept = |piece: &&Piece<'_>| match &piece.place {
            Place::Element(name, at) => *at < FIRST || at + LAST >= lists[name],
            _ => true,
        };
        let kept = pieces.iter().filter(is_kept).map(|piece| (piece.place.to_string(), hash(piece.raw)));
        let counts = lists.iter().map(|(name, many)| (format!("{}[]", short(name)), many.to_string()));
        Parts(counts.chain(kept).take(MOST).collect())
    }

    /// Nothing is known of the request.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is another in a request, in its order.
    pub(crate) fn differences(&self, body: &[u8]) -> Vec<String> {
        let Some(fields) = std::str::from_utf8(body).ok().and_then(object) else {
            return vec!["it is no JSON object".to_owned()];
        };
        let (pieces, lists) = pieces(&fields);
        let mut told = Vec::new();
        for piece in &pieces {
            let place = piece.place.to_string();
            let many = |name: &str| self.0.get(&format!("{}[]", short(name)))?.parse::<usize>().ok();
            match (self.0.get(&place), &piece.place) {
                (Some(before), _) if *before == hash(piece.raw) => {}
                (Some(_), _) => told.push(format!("{place}{} differs", role(piece))),
                // In the middle of a long list, of which nothing is kept.
                (None, Place::Element(name, at)) if many(name).is_some_and(|many| *at < many) => {}
                (None, _) if self.0.len() >= MOST => {}
                (None, _) => told.push(format!("{place}{} is new", role(piece))),
            }
        }
        for place in self.0.keys() {
            let is_there = match place.strip_suffix("[]") {
                // What is missing of a list is told by its elements.
                Some(list) => lists.keys().any(|name| short(name) == list) || self.0[place] != "0",
                None => pieces.iter().any(|piece| piece.place.to_string() == *place),
            };
            if !is_there {
                told.push(format!("{place} is gone"));
            }
        }
        told
    }
}

/// Who says a message, which is no secret of it.
fn role(piece: &Piece<'_>) -> &'static str {
    const ROLES: [(&str, &str); 6] = [
        ("\"system\"", " (system)"),
        ("\"developer\"", " (developer)"),
        ("\"user\"", " (user)"),
        ("\"assistant\"", " (assistant)"),
        ("\"tool\"", " (tool)"),
        ("\"model\"", " (model)"),
    ];
    let fields = object(piece.raw).unwrap_or_default();
    let said = fields.iter().find(|(name, _)| name == "role").map(|(_, value)| value.get());
    ROLES.iter().find(|(role, _)| Some(*role) == said).map_or("", |(_, shown)| shown)
}

/// Differences as one reads them, and not too many.
pub(crate) fn told(differences: &[String]) -> String {
    let shown = differences.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", ");
    match differences.len().checked_sub(TOLD) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differences(before: &str, now: &str) -> Vec<String> {
        Parts::of(before.as_bytes()).differences(now.as_bytes())
    }

    const CHAT: &str = r#"{"model":"m","temperature":0.5,"messages":[{"role":"system","content":"Be kind"},{"role":"user","content":"Hello"}],"response_format":{"type":"text"}}"#;

    #[test]
    fn what_is_another_is_named_by_its_place() {
        assert!(differences(CHAT, CHAT).is_empty());
        assert_eq!(differences(CHAT, &CHAT.replace("Hello", "Hallo")), ["messages[1] (user) differs"]);
        assert_eq!(differences(CHAT, &CHAT.replace("0.5", "0.6")), ["temperature differs"]);
        assert_eq!(
            differences(CHAT, &CHAT.replace("\"temperature\":0.5,", "\"top_p\":1,")),
            ["top_p is new", "temperature is gone"]
        );
        assert_eq!(
            differences(CHAT, &CHAT.replace("\"text\"", "\"json\"")),
            ["response_format.type differs"]
        );
        let more = CHAT.replace("}],", r#"},{"role":"assistant","content":"Hi"}],"#);
        assert_eq!(differences(CHAT, &more), ["messages[2] (assistant) is new"]);
        assert_eq!(differences(&more, CHAT), ["messages[2] is gone"]);
        assert!(differences(CHAT, &CHAT.replace(":[", ": [")).is_empty(), "a space is no part");
        assert_eq!(differences(CHAT, "nonsense"), ["it is no JSON object"]);
    }

    #[test]
    fn of_a_long_request_little_is_kept_and_its_end_is_told() {
        let messages = |many: usize| {
            let all: Vec<String> =
                (0..many).map(|n| format!(r#"{{"role":"user","content":"{n}"}}"#)).collect();
            format!(r#"{{"messages":[{}]}}"#, all.join(","))
        };
        let kept = Parts::of(messages(500).as_bytes());
        assert!(serde_json::to_vec(&kept).unwrap().len() < 2_000);
        assert!(kept.differences(messages(500).as_bytes()).is_empty());
        assert_eq!(kept.differences(messages(501).as_bytes()), ["messages[500] (user) is new"]);
        assert_eq!(kept.differences(messages(499).as_bytes()), ["messages[499] is gone"]);
        let fields: Vec<String> = (0..500).map(|n| format!("\"field{n}\":{n}")).collect();
        let wide = format!("{{{}}}", fields.join(","));
        let kept = Parts::of(wide.as_bytes());
        assert!(kept.0.len() == MOST && kept.differences(wide.as_bytes()).is_empty());
        assert_eq!(told(&kept.differences(b"{}")).matches("is gone").count(), TOLD);
    }

    #[test]
    fn no_text_of_a_request_is_kept() {
        let kept = serde_json::to_string(&Parts::of(CHAT.as_bytes())).unwrap();
        assert!(!kept.contains("Hello") && !kept.contains("Be kind"), "{kept}");
        for odd in ["", "[]", "{", "{\"a\":1}x", "\u{ff}"] {
            let _ = Parts::of(odd.as_bytes());
        }
    }
}
