//! What makes a body say one thing to one reader and another to the next: notes in place of what was not kept, which a
//! program can write itself, and fields that stand twice.

use std::collections::HashSet;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use wflo_core::content::NOT_KEPT;

/// How many bytes are missing where this note stands, if it is one.
pub(super) fn read(all: &Map<String, Value>) -> Option<u64> {
    let note = all.get(NOT_KEPT).filter(|_| all.len() == 1)?.as_object()?;
    let hash = note.get("blake3")?.as_str()?;
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    note.get("bytes")?.as_u64().filter(|_| is_hash && note.len() == 2)
}

/// How many notes stand in a body.
pub(super) fn count(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(all) => u64::from(read(all).is_some()) + all.values().map(count).sum::<u64>(),
        _ => 0,
    }
}

/// Whether a field stands twice in an object.
pub(crate) struct Doubled(bool);

impl Doubled {
    /// Whether one does in a JSON text; in what is none, none does.
    pub(crate) fn is_in(text: &str) -> bool {
        serde_json::from_str::<Doubled>(text).is_ok_and(|doubled| doubled.0)
    }
}

impl<'de> Deserialize<'de> for Doubled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Doubled, D::Error> {
        deserializer.deserialize_any(Look)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = Doubled;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Doubled, A::Error> {
        let (mut names, mut is_doubled) = (HashSet::new(), false);
        while let Some(name) = map.next_key::<String>()? {
            is_doubled |= !names.insert(name);
            is_doubled |= map.next_value::<Doubled>()?.0;
        }
        Ok(Doubled(is_doubled))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Doubled, A::Error> {
        let mut is_doubled = false;
        while let Some(inner) = seq.next_element::<Doubled>()? {
            is_doubled |= inner.0;
        }
        Ok(Doubled(is_doubled))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Doubled, E> {
        Ok(Doubled(false))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Doubled, E> {
        Ok(Doubled(false))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Doubled, E> {
        Ok(Doubled(false))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Doubled, E> {
        Ok(Doubled(false))
    }

    fn visit_str<E>(self, _: &str) -> Result<Doubled, E> {
        Ok(Doubled(false))
    }

    fn visit_unit<E>(self) -> Result<Doubled, E> {
        Ok(Doubled(false))
    }
}
