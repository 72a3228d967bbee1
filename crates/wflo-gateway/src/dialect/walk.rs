//! One walk over a JSON text, without building it in memory.
//!
//! Owns the way through it. What texts and names mean, and what lies under them, is said by whoever looks.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Who looks at the texts and names of a JSON text.
pub(crate) trait Look {
    /// Where a value stands, as far as it gives the value a meaning.
    type At: Copy;

    /// A text that is a value.
    fn text(&mut self, at: Self::At, text: &str);

    /// Where the elements of a list stand.
    fn element(&mut self, list: Self::At) -> Self::At;

    /// Where the value of an object's field stands; `None` where nothing in it is worth a look.
    fn field(&mut self, object: Self::At, name: &str) -> Option<Self::At>;
}

/// Walks one JSON text whose value stands at `at`.
///
/// # Errors
/// What the parser says, nesting deeper than it allows included.
pub(crate) fn walk<L: Look>(look: &mut L, at: L::At, json: &[u8]) -> Result<(), serde_json::Error> {
    Walk { look, at }.deserialize(&mut serde_json::Deserializer::from_slice(json))
}

struct Walk<'l, L: Look> {
    look: &'l mut L,
    at: L::At,
}

impl<'de, L: Look> DeserializeSeed<'de> for Walk<'_, L> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, L: Look> Visitor<'de> for Walk<'_, L> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.look.text(self.at, text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let at = self.look.element(self.at);
        while seq.next_element_seed(Walk { look: &mut *self.look, at })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Walk { look, at } = self;
        while let Some(under) = map.next_key_seed(Name { look: &mut *look, at })? {
            match under {
                Some(at) => map.next_value_seed(Walk { look: &mut *look, at })?,
                None => map.next_value::<IgnoredAny>().map(drop)?,
            }
        }
        Ok(())
    }
}

/// A field's name, looked at without being kept.
struct Name<'l, L: Look> {
    look: &'l mut L,
    at: L::At,
}

impl<'de, L: Look> DeserializeSeed<'de> for Name<'_, L> {
    type Value = Option<L::At>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<L: Look> Visitor<'_> for Name<'_, L> {
    type Value = Option<L::At>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.look.field(self.at, name))
    }
}
