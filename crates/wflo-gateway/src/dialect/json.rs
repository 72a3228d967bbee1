//! A JSON object read without being copied: its top-level fields and where they stand in the bytes.
//!
//! Owns finding and splicing. A body that passes through keeps its own escapes, spaces and field
//! order; only the bytes of a change differ.
//!
//! **Architecture Invariant:** what this module finds is what every JSON parser finds. Two fields of
//! one name, or a known name in another case, mean one thing to one parser and another to the next,
//! so such a body is refused instead of being read one of these ways.

use std::ops::Range;

use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A body that cannot be read safely.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not a JSON object.
    #[error("the request body is not a JSON object: {0}")]
    NotAnObject(String),
    /// A field that occurs twice, or differs from a known one only in case.
    #[error("the request body has more than one `{0}`")]
    Ambiguous(String),
    /// A field whose value is of the wrong kind.
    #[error("`{field}` must be {wanted}")]
    WrongKind {
        /// The field.
        field: String,
        /// What it must be.
        wanted: &'static str,
    },
}

/// One top-level field.
#[derive(Debug)]
pub struct Field<'a> {
    /// Its name, unescaped.
    pub name: String,
    /// Its value, as written.
    pub value: &'a str,
    /// Where the value stands in the body.
    pub at: Range<usize>,
}

/// The top-level fields of a body.
#[derive(Debug)]
pub struct Fields<'a> {
    fields: Vec<Field<'a>>,
    /// Just after the opening brace.
    open: usize,
}

struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::with_capacity(12);
                while let Some(name) = map.next_key::<String>()? {
                    let value = map.next_value::<&RawValue>()?;
                    if pairs.len() == 1_024 {
                        return Err(A::Error::custom("more than 1024 fields"));
                    }
                    pairs.push((name, value));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl<'a> Fields<'a> {
    /// Reads the top level of `body`.
    ///
    /// # Errors
    /// [`BodyError`] when it is no object, or when a name occurs twice in any case.
    pub fn read(body: &'a [u8]) -> Result<Fields<'a>, BodyError> {
        let pairs: Pairs<'a> =
            serde_json::from_slice(body).map_err(|error| BodyError::NotAnObject(error.to_string()))?;
        let mut names: Vec<String> = pairs.0.iter().map(|(name, _)| name.to_lowercase()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(BodyError::Ambiguous(pair[0].clone()));
        }
        let start = body.as_ptr() as usize;
        let fields = pairs
            .0
            .into_iter()
            .map(|(name, value)| {
                let value = value.get();
                // The raw value borrows from `body`, so the difference of addresses is its place.
                let at = value.as_ptr() as usize - start;
                Field { name, value, at: at..at + value.len() }
            })
            .collect();
        let open = memchr::memchr(b'{', body).map_or(0, |at| at + 1);
        Ok(Fields { fields, open })
    }

    /// Reads the top level of a message that a server reads by the rules of protocol buffers: a name in
    /// snake_case is the one in camelCase, and found by that.
    ///
    /// # Errors
    /// As [`Fields::read`]; a name in both spellings occurs twice.
    pub fn read_proto(body: &'a [u8]) -> Result<Fields<'a>, BodyError> {
        let mut fields = Fields::read(body)?;
        for field in &mut fields.fields {
            field.name = camel(&field.name);
        }
        let mut names: Vec<String> = fields.fields.iter().map(|field| field.name.to_lowercase()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(BodyError::Ambiguous(pair[0].clone())),
            None => Ok(fields),
        }
    }

    /// The field of this name.
    pub fn get(&self, name: &str) -> Option<&Field<'a>> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Every field, in the body's order.
    pub fn iter(&self) -> impl Iterator<Item = &Field<'a>> {
        self.fields.iter()
    }

    /// Refuses a field that a parser without regard to case would take for one of `known`.
    ///
    /// # Errors
    /// [`BodyError::Ambiguous`] with the known name.
    pub fn refuse_other_spellings(&self, known: &[&str]) -> Result<(), BodyError> {
        for field in &self.fields {
            if let Some(name) = known.iter().find(|name| name.eq_ignore_ascii_case(&field.name))
                && *name != field.name
            {
                return Err(BodyError::Ambiguous((*name).to_owned()));
            }
        }
        Ok(())
    }

    /// The field as a text; `null` counts as absent.
    ///
    /// # Errors
    /// [`BodyError::WrongKind`] when it is something else.
    pub fn text(&self, name: &str) -> Result<Option<String>, BodyError> {
        self.typed(name, "a text")
    }

    /// The field as a boolean; `null` counts as absent.
    ///
    /// # Errors
    /// [`BodyError::WrongKind`] when it is something else.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, BodyError> {
        self.typed(name, "true or false")
    }

    /// The field as a count of at least 1; `null` counts as absent. Zero and negative numbers mean
    /// "no limit" to some servers, so they are refused.
    ///
    /// # Errors
    /// [`BodyError::WrongKind`] when it is something else.
    pub fn count(&self, name: &str) -> Result<Option<u64>, BodyError> {
        let wanted = "a whole number above 0";
        match self.typed::<u64>(name, wanted)? {
            Some(0) => Err(BodyError::WrongKind { field: name.to_owned(), wanted }),
            other => Ok(other),
        }
    }

    fn typed<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        wanted: &'static str,
    ) -> Result<Option<T>, BodyError> {
        let Some(field) = self.get(name) else { return Ok(None) };
        serde_json::from_str::<Option<T>>(field.value)
            .map_err(|_| BodyError::WrongKind { field: name.to_owned(), wanted })
    }

    /// The edit that gives the field this value; a `null` of it is replaced, because a second field of the
    /// name would mean one thing to one parser and another to the next.
    pub fn set(&self, name: &str, value: &str) -> Edit {
        match self.get(name) {
            Some(field) => Edit { at: field.at.clone(), text: value.to_owned() },
            None => self.insert(name, value),
        }
    }

    /// The edit that adds `"name":value` as the first field.
    pub fn insert(&self, name: &str, value: &str) -> Edit {
        let comma = if self.fields.is_empty() { "" } else { "," };
        Edit { at: self.open..self.open, text: format!("\"{name}\":{value}{comma}") }
    }
}

/// A name in snake_case as protocol buffers spell it in JSON.
fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut raise = false;
    for c in name.chars() {
        if c == '_' {
            raise = true;
        } else if std::mem::take(&mut raise) {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
    }
    out
}

impl Edit {
    /// An edit of a field's value as one of the body that holds it.
    #[must_use]
    pub fn within(self, outer: &Field<'_>) -> Edit {
        Edit { at: self.at.start + outer.at.start..self.at.end + outer.at.start, ..self }
    }
}

/// Bytes to put in place of a range of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced; empty for an insertion.
    pub at: Range<usize>,
    /// What stands there instead.
    pub text: String,
}

/// The body with the edits made; everything else is the same byte for byte. Edits do not overlap.
pub fn splice(body: &bytes::Bytes, mut edits: Vec<Edit>) -> bytes::Bytes {
    if edits.is_empty() {
        return body.clone();
    }
    edits.sort_by_key(|edit| edit.at.start);
    let extra: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut out = Vec::with_capacity(body.len() + extra);
    let mut from = 0;
    for edit in edits {
        out.extend_from_slice(body.get(from..edit.at.start).unwrap_or_default());
        out.extend_from_slice(edit.text.as_bytes());
        from = edit.at.end;
    }
    out.extend_from_slice(body.get(from..).unwrap_or_default());
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_insertion_changes_nothing_else() {
        let body = bytes::Bytes::from_static(b" {  \"model\" : \"caf\\u00e9\",\n\"x\":[1.0e5]}");
        let fields = Fields::read(&body).unwrap();
        assert_eq!(fields.text("model").unwrap().unwrap(), "café");
        let out = splice(&body, vec![fields.insert("max_tokens", "5")]);
        assert_eq!(out, b" {\"max_tokens\":5,  \"model\" : \"caf\\u00e9\",\n\"x\":[1.0e5]}"[..]);
        assert_eq!(
            splice(&bytes::Bytes::from_static(b"{}"), vec![Fields::read(b"{}").unwrap().insert("a", "1")]),
            b"{\"a\":1}"[..]
        );
    }

    #[test]
    fn a_body_that_two_parsers_read_differently_is_refused() {
        for body in [r#"{"n":1,"n":9}"#, r#"{"n":1,"N":9}"#, r#"{"n":1,"\u006e":9}"#] {
            assert!(matches!(Fields::read(body.as_bytes()), Err(BodyError::Ambiguous(_))), "{body}");
        }
        let other = Fields::read(br#"{"Max_Tokens":9}"#).unwrap();
        assert!(other.refuse_other_spellings(&["max_tokens"]).is_err());
    }

    #[test]
    fn no_limit_in_disguise_is_refused() {
        for value in ["0", "-1", "1.5", "\"10\"", "1e3", "99999999999999999999"] {
            let body = format!("{{\"max_tokens\":{value}}}");
            assert!(Fields::read(body.as_bytes()).unwrap().count("max_tokens").is_err(), "{value}");
        }
        assert_eq!(Fields::read(b"{\"n\":null}").unwrap().count("n").unwrap(), None);
    }

    proptest! {
        #[test]
        fn every_value_is_found_where_it_stands(names in proptest::collection::btree_set("[a-z]{1,8}", 0..8), value in "[ -~]{0,20}") {
            let object: serde_json::Map<String, serde_json::Value> =
                names.iter().map(|name| (name.clone(), value.clone().into())).collect();
            let body = serde_json::to_vec_pretty(&object).unwrap();
            let fields = Fields::read(&body).unwrap();
            for field in fields.iter() {
                prop_assert_eq!(&body[field.at.clone()], field.value.as_bytes());
            }
        }

        #[test]
        fn bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Fields::read(&body);
        }
    }
}
