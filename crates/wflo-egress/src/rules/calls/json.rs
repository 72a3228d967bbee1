//! JSON that every reader reads alike.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::CallError;

/// Names that are looked at. Some servers take them in any case.
const LOOKED_AT: &[&str] = &["method", "params", "name", "query", "result", "error"];

/// Reads a value in which no name is there twice, in whatever case.
pub(super) struct Strict;

impl Strict {
    pub(super) fn read(bytes: &[u8]) -> Result<Value, CallError> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let unreadable = |_| CallError::Unreadable("it is no JSON, or has a name twice");
        let value = Strict.deserialize(&mut reader).map_err(unreadable)?;
        reader.end().map_err(unreadable)?;
        Ok(value)
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let (mut map, mut seen) = (Map::new(), BTreeSet::new());
        while let Some(key) = entries.next_key::<String>()? {
            if !seen.insert(key.to_lowercase()) {
                return Err(A::Error::custom("a name is there twice"));
            }
            map.insert(key, entries.next_value_seed(Strict)?);
        }
        Ok(Value::Object(map))
    }
}

/// The names of an object that is looked at are the very ones that are looked for, and no spelling of them that
/// some servers take for the same.
pub(super) fn plain_keys(value: &Value) -> Result<(), CallError> {
    let Value::Object(map) = value else { return Err(CallError::Unreadable("it is no object")) };
    let is_odd = |key: &String| {
        let lower = key.to_ascii_lowercase();
        !key.is_ascii() || lower != *key && LOOKED_AT.contains(&lower.as_str())
    };
    if map.keys().any(is_odd) { Err(CallError::Unreadable("a name in an odd spelling")) } else { Ok(()) }
}
