//! What stands inside a request, as far as it moves the bound of its cost.
//!
//! Owns one walk over the whole body, without building it in memory. It looks for things by name
//! wherever they stand, so text of the user that merely looks like an image only makes the bound
//! wider, never narrower. For the same reason the bytes of an image's base64 are not taken off the
//! text's: whether they are an image is for the provider to say.

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Counts and marks found anywhere in a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// Images that are in the body itself.
    pub inline_images: u64,
    /// Something whose size the body does not show: a URL, a file id, a document, audio, video.
    pub unsizable: Option<&'static str>,
    /// A prompt-cache mark.
    pub cached: bool,
    /// A prompt-cache mark with the hour-long time to live.
    pub cached_long: bool,
    /// Audio in the input.
    pub audio: bool,
}

/// What a value stands under, as far as it gives the value a meaning.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Under {
    Nothing,
    /// The value of `image_url`, or the `url` inside it: data or an address.
    ImageUrl,
    /// The value of `type`.
    Kind,
    /// The value of `ttl`.
    Ttl,
    /// The value of `mimeType`.
    Type,
    /// The value of `audio`: how an answer is to sound, or an earlier one.
    Audio,
}

struct Walk<'f> {
    facts: &'f mut Facts,
    under: Under,
}

/// Walks one JSON text.
///
/// # Errors
/// What the parser says, nesting deeper than it allows included.
pub fn read(text: &[u8]) -> Result<Facts, serde_json::Error> {
    let mut facts = Facts::default();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Walk { facts: &mut facts, under: Under::Nothing }.deserialize(&mut deserializer)?;
    Ok(facts)
}

impl Facts {
    fn text(&mut self, under: Under, text: &str) {
        match under {
            Under::ImageUrl if text.starts_with("data:image/") => self.inline_images += 1,
            Under::ImageUrl => self.unsizable = Some("an image by its URL"),
            Under::Type if text.starts_with("image/") || text.starts_with("text/") => {}
            Under::Type => {
                self.audio |= !text.starts_with("application/");
                self.unsizable = Some("a file whose tokens its bytes do not tell");
            }
            Under::Ttl => self.cached_long |= text == "1h",
            Under::Kind => match text {
                "image" => self.inline_images += 1,
                "url" => self.unsizable = Some("a source by its URL"),
                "document" | "input_file" | "file" => self.unsizable = Some("a document"),
                "input_audio" | "audio" => {
                    self.audio = true;
                    self.unsizable = Some("audio");
                }
                "video_url" | "video" | "input_video" => self.unsizable = Some("a video"),
                "container_upload" => self.unsizable = Some("a file in a container"),
                _ => {}
            },
            Under::Nothing | Under::Audio => {}
        }
    }

    /// What the name of a field says, and what its value then stands under.
    fn name(&mut self, name: &str, under: Under) -> Under {
        match name {
            "image_url" => Under::ImageUrl,
            "url" if under == Under::ImageUrl => Under::ImageUrl,
            "type" => Under::Kind,
            "ttl" => Under::Ttl,
            "cache_control" | "prompt_cache_breakpoint" => {
                self.cached = true;
                Under::Nothing
            }
            // OpenAI's cache lives longer on request.
            "prompt_cache_retention" | "prompt_cache_options" => {
                self.cached = true;
                self.cached_long = true;
                Under::Nothing
            }
            // Google's parts: a file that the body holds, of a kind that its type tells.
            "inlineData" | "inline_data" => {
                self.inline_images += 1;
                Under::Nothing
            }
            "mimeType" | "mime_type" => Under::Type,
            "file_id" | "file_data" | "file_url" | "file" | "fileData" | "fileUri" | "file_uri" => {
                self.unsizable = Some("a file");
                Under::Nothing
            }
            "input_audio" => {
                self.audio = true;
                self.unsizable = Some("audio");
                Under::Nothing
            }
            "audio" => Under::Audio,
            // An answer that the provider keeps, and reads again as audio.
            "id" if under == Under::Audio => {
                self.audio = true;
                self.unsizable = Some("audio by its id");
                Under::Nothing
            }
            "video_url" => {
                self.unsizable = Some("a video");
                Under::Nothing
            }
            _ => Under::Nothing,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A field's name, looked at without being kept.
struct Name<'f> {
    facts: &'f mut Facts,
    under: Under,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Under;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Under, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Under;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Under, E> {
        Ok(self.facts.name(name, self.under))
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
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

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.facts.text(self.under, text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Walk { facts: &mut *self.facts, under: self.under })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(under) = map.next_key_seed(Name { facts: &mut *self.facts, under: self.under })? {
            map.next_value_seed(Walk { facts: &mut *self.facts, under })?;
        }
        Ok(())
    }
}

/// The number of elements of a JSON array, or 0 for anything else.
pub fn elements(text: &str) -> u64 {
    serde_json::from_str::<Vec<IgnoredAny>>(text).map_or(0, |all| all.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_counted_and_references_are_marked() {
        let inline =
            read(br#"[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]"#).unwrap();
        assert_eq!((inline.inline_images, inline.unsizable), (1, None));
        let remote =
            read(br#"[{"type":"image_url","image_url":{"url":"https://example.org/a.png"}}]"#).unwrap();
        assert!(remote.unsizable.is_some());
        let anthropic =
            read(br#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}"#)
                .unwrap();
        assert_eq!(anthropic.inline_images, 1);
        assert!(
            read(br#"{"type":"image","source":{"type":"url","url":"https://x"}}"#)
                .unwrap()
                .unsizable
                .is_some()
        );
        assert!(
            read(br#"{"type":"image","source":{"type":"file","file_id":"f"}}"#).unwrap().unsizable.is_some()
        );
    }

    #[test]
    fn escaped_names_do_not_hide_a_mark() {
        let facts = read(br#"{"cache_contro\u006c":{"type":"ephemeral","ttl":"1\u0068"}}"#).unwrap();
        assert!(facts.cached && facts.cached_long);
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_crash() {
        assert!(read("[".repeat(100_000).as_bytes()).is_err());
    }
}
