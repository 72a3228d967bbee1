//! A value of a record that need not be in memory.
//!
//! A step decides how many answers it has and how large they are, so nobody who only looks at its journal
//! holds them: the store gives small ones out with their record, and of large ones the size. Who needs the
//! value itself asks for the one record ([`Store::effect`](crate::ports::store::Store::effect)).

use serde_json::Value;

/// A value, or how large it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// The value.
    Here(Value),
    /// It is in the store only.
    Stored {
        /// The length of its JSON.
        bytes: u64,
    },
}

/// What a value without this field says of it.
static NULL: Value = Value::Null;

impl Kept {
    /// The longest JSON text, in bytes, of a value that the store gives out with its record.
    pub const SMALL: u64 = 4 << 10;

    /// The value, if it is here.
    pub const fn here(&self) -> Option<&Value> {
        match self {
            Kept::Here(value) => Some(value),
            Kept::Stored { .. } => None,
        }
    }

    /// The value, if it is here.
    pub fn into_here(self) -> Option<Value> {
        match self {
            Kept::Here(value) => Some(value),
            Kept::Stored { .. } => None,
        }
    }

    /// A field of it; null when it has none or is not here.
    pub fn field(&self, name: &str) -> &Value {
        self.here().map_or(&NULL, |value| &value[name])
    }

    /// How long its JSON is, in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Kept::Here(value) => json_bytes(value),
            Kept::Stored { bytes } => *bytes,
        }
    }

    /// The same without the value, unless that takes at most `most` bytes of memory.
    #[must_use]
    pub fn within(self, most: usize) -> Kept {
        match &self {
            Kept::Here(value) if memory_of(value) > most => Kept::Stored { bytes: json_bytes(value) },
            _ => self,
        }
    }
}

impl From<Value> for Kept {
    fn from(value: Value) -> Self {
        Kept::Here(value)
    }
}

/// For people: the value, or how large it is.
impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kept::Here(value) => write!(f, "{value}"),
            Kept::Stored { bytes } => write!(f, "({bytes} bytes)"),
        }
    }
}

/// How long a value's JSON is, in bytes, without making it.
pub fn json_bytes(value: &Value) -> u64 {
    struct Count(u64);
    impl std::io::Write for Count {
        fn write(&mut self, written: &[u8]) -> std::io::Result<usize> {
            self.0 += written.len() as u64;
            Ok(written.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        // A JSON value is always JSON.
        Err(_) => u64::MAX,
    }
}

/// About how many bytes of memory a value takes. Of small elements that is many times their JSON.
pub fn memory_of(value: &Value) -> usize {
    let inside = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        // A list grows by doubling, from four on.
        Value::Array(list) => {
            list.len().next_power_of_two().max(4) * size_of::<Value>() * usize::from(!list.is_empty())
                + list.iter().map(|value| memory_of(value) - size_of::<Value>()).sum::<usize>()
        }
        // A node of a map has eleven places.
        Value::Object(map) => {
            map.len().div_ceil(6) * 11 * (size_of::<String>() + size_of::<Value>())
                + map
                    .iter()
                    .map(|(key, value)| key.len() + memory_of(value) - size_of::<Value>())
                    .sum::<usize>()
        }
    };
    size_of::<Value>() + inside
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_small_stays() {
        let (small, large) = (json!({"a": [1, "é\n"]}), json!("x".repeat(2_000)));
        assert_eq!(json_bytes(&small), small.to_string().len() as u64);
        assert_eq!(Kept::from(small.clone()).within(1_024), Kept::Here(small));
        assert_eq!(Kept::from(large.clone()).within(1_024), Kept::Stored { bytes: 2_002 });
        assert_eq!(Kept::from(large).bytes(), 2_002);
    }

    #[test]
    fn a_list_of_nothings_is_not_small() {
        let nothings = json!(vec![json!([0]); 250]);
        assert_eq!(json_bytes(&nothings), 1_001);
        assert!(memory_of(&nothings) > 30_000, "{}", memory_of(&nothings));
        assert_eq!(memory_of(&json!([])), memory_of(&json!(0)));
        assert!(matches!(Kept::from(nothings).within(1_024), Kept::Stored { bytes: 1_001 }));
    }

    #[test]
    fn what_is_not_here_has_no_fields() {
        assert_eq!(Kept::from(json!({"sql": "SELECT 1"})).field("sql"), "SELECT 1");
        assert_eq!(Kept::Stored { bytes: 9 }.field("sql"), &Value::Null);
        assert_eq!(Kept::Stored { bytes: 9 }.to_string(), "(9 bytes)");
    }
}
