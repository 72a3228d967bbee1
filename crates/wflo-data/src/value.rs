//! One value of a database cell, and its shape in JSON.
//!
//! Owns the mapping between the two. Integers are exact 64-bit; blobs are `{"$bytes": "base64"}`;
//! an infinite real is `{"$real": "Infinity"}` or `{"$real": "-Infinity"}`, because JSON has no
//! such number. NaN does not exist in SQLite (it stores NULL) and is refused on the way in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Number, Value as Json};

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A 64-bit signed integer, exact.
    Integer(i64),
    /// A double, never NaN.
    Real(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes; also text in the database that is not valid UTF-8.
    Blob(Vec<u8>),
}

/// A JSON value that is not a database value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// An integer that 64 signed bits cannot hold.
    #[error("the integer {given} does not fit 64 signed bits")]
    IntegerTooLarge {
        /// The number as given.
        given: String,
    },
    /// A list.
    #[error("a list is not a database value")]
    List,
    /// An object that is neither `{"$bytes": …}` nor `{"$real": …}`.
    #[error("an object is not a database value; bytes are written {{\"$bytes\": \"base64\"}}")]
    Object,
    /// `$bytes` that is not base64.
    #[error("`$bytes` does not hold valid base64")]
    Base64,
    /// `$real` that is not an infinity (NaN is no database value).
    #[error("`$real` must be \"Infinity\" or \"-Infinity\"; NaN is not a database value")]
    Real,
}

impl Value {
    /// Reads a cell from JSON. `true` and `false` are 1 and 0.
    ///
    /// # Errors
    /// [`ValueError`] for lists, other objects, and integers beyond 64 signed bits.
    pub fn from_json(json: &Json) -> Result<Self, ValueError> {
        match json {
            Json::Null => Ok(Value::Null),
            Json::Bool(flag) => Ok(Value::Integer(i64::from(*flag))),
            Json::Number(number) => from_number(number),
            Json::String(text) => Ok(Value::Text(text.clone())),
            Json::Array(_) => Err(ValueError::List),
            Json::Object(object) => from_object(object),
        }
    }

    /// The cell as JSON; the inverse of [`Value::from_json`], booleans aside.
    pub fn to_json(&self) -> Json {
        match self {
            Value::Null => Json::Null,
            Value::Integer(number) => Json::from(*number),
            Value::Real(number) => match Number::from_f64(*number) {
                Some(finite) => Json::Number(finite),
                None if number.is_nan() => Json::Null,
                None => tagged("$real", if *number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()),
            },
            Value::Text(text) => Json::String(text.clone()),
            Value::Blob(bytes) => tagged("$bytes", BASE64.encode(bytes)),
        }
    }

    /// Appends an encoding in which two values are equal only if they are the same value of the
    /// same type: what digests and keys of rows are made of.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut tagged = |tag: u8, bytes: &[u8]| {
            out.push(tag);
            out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            out.extend_from_slice(bytes);
        };
        match self {
            Value::Null => tagged(0, &[]),
            Value::Integer(number) => tagged(1, &number.to_be_bytes()),
            Value::Real(number) => tagged(2, &number.to_bits().to_be_bytes()),
            Value::Text(text) => tagged(3, text.as_bytes()),
            Value::Blob(bytes) => tagged(4, bytes),
        }
    }
}

fn tagged(tag: &str, text: String) -> Json {
    let mut object = Map::new();
    object.insert(tag.to_owned(), Json::String(text));
    Json::Object(object)
}

fn from_number(number: &Number) -> Result<Value, ValueError> {
    if let Some(integer) = number.as_i64() {
        return Ok(Value::Integer(integer));
    }
    if number.is_u64() {
        return Err(ValueError::IntegerTooLarge { given: number.to_string() });
    }
    number.as_f64().filter(|real| real.is_finite()).map(Value::Real).ok_or(ValueError::Real)
}

fn from_object(object: &Map<String, Json>) -> Result<Value, ValueError> {
    let mut entries = object.iter();
    match (entries.next(), entries.next()) {
        (Some((tag, Json::String(text))), None) if tag == "$bytes" => {
            BASE64.decode(text).map(Value::Blob).map_err(|_| ValueError::Base64)
        }
        (Some((tag, Json::String(text))), None) if tag == "$real" => match text.as_str() {
            "Infinity" => Ok(Value::Real(f64::INFINITY)),
            "-Infinity" => Ok(Value::Real(f64::NEG_INFINITY)),
            _ => Err(ValueError::Real),
        },
        _ => Err(ValueError::Object),
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Integer(number) => serializer.serialize_i64(*number),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Real(_) | Value::Blob(_) => self.to_json().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer)?;
        Value::from_json(&json).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_from_json_as_it_went() {
        for value in [
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Integer(i64::MAX),
            Value::Real(1.0),
            Value::Real(-0.1),
            Value::Real(f64::INFINITY),
            Value::Real(f64::NEG_INFINITY),
            Value::Text("é\0\"".to_owned()),
            Value::Blob(vec![0, 255, 1]),
        ] {
            let text = serde_json::to_string(&value).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_cell_is_refused() {
        for (json, error) in [
            (serde_json::json!([1]), ValueError::List),
            (serde_json::json!({"a": 1}), ValueError::Object),
            (serde_json::json!({"$bytes": "AA==", "b": 1}), ValueError::Object),
            (serde_json::json!({"$bytes": "?"}), ValueError::Base64),
            (serde_json::json!({"$real": "NaN"}), ValueError::Real),
            (serde_json::json!(u64::MAX), ValueError::IntegerTooLarge { given: u64::MAX.to_string() }),
        ] {
            assert_eq!(Value::from_json(&json), Err(error), "{json}");
        }
    }
}
