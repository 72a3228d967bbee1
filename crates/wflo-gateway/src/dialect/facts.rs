//! What stands inside a request, as far as it moves the bound of its cost.
//!
//! Owns what is looked for in one walk over the whole body: things by their names, wherever they stand. So
//! text of the user that merely looks like an image only makes the bound wider, never narrower. Which images
//! are certainly such is `pictures`'.

use serde::de::IgnoredAny;

use super::walk::{Look, walk};
use super::{Dialect, pictures};

/// Counts and marks found anywhere in a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// Images that are in the body itself.
    pub inline_images: u64,
    /// The base64 of those of them that its provider certainly takes for pictures, in bytes.
    pub picture_bytes: u64,
    /// Something whose size the body does not show: a URL, a file id, a document, audio, video.
    pub unsizable: Option<&'static str>,
    /// A prompt-cache mark.
    pub cached: bool,
    /// A prompt-cache mark with the hour-long time to live.
    pub cached_long: bool,
    /// Audio in the input.
    pub audio: bool,
    /// Bytes that escapes (`\u0436`) take beyond the characters that they stand for.
    pub escapes: u64,
    /// Bytes by which the arguments and results of tools become longer where a server writes them anew with
    /// escapes.
    pub written_anew: u64,
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
    /// The value of a field that holds the arguments or the result of a tool where it is an object: JSON that
    /// the server reads and writes again.
    Object,
}

/// Where a value stands.
#[derive(Clone, Copy)]
pub(crate) struct At {
    under: Under,
    /// It stands in what a server writes anew.
    anew: bool,
}

/// The facts of a whole body of a dialect.
///
/// # Errors
/// As [`read`].
pub(super) fn of(dialect: Dialect, body: &[u8]) -> Result<Facts, serde_json::Error> {
    let facts = read(body)?;
    let picture_bytes = if facts.inline_images > 0 { pictures::bytes(dialect, body) } else { 0 };
    Ok(Facts { picture_bytes, ..facts })
}

/// Walks one JSON text.
///
/// # Errors
/// What the parser says, nesting deeper than it allows included.
pub fn read(text: &[u8]) -> Result<Facts, serde_json::Error> {
    let begin = || Facts { escapes: escapes(text), ..Facts::default() };
    let (mut facts, at) = (begin(), At { under: Under::Nothing, anew: false });
    let Err(error) = walk(&mut facts, at, text) else { return Ok(facts) };
    // Half a surrogate is no text here, and what its provider makes of it is that one's affair: it is as long as what
    // stands for it.
    match std::str::from_utf8(text).map(wflo_core::content::mended) {
        Ok(std::borrow::Cow::Owned(mended)) => {
            facts = begin();
            walk(&mut facts, at, mended.as_bytes())?;
            Ok(facts)
        }
        _ => Err(error),
    }
}

/// The bytes that escapes of a JSON text have beyond the UTF-8 of their characters, at least. Only those of
/// characters beyond ASCII count: a server may well keep the others.
fn escapes(json: &[u8]) -> u64 {
    let (mut from, mut beyond) = (0, 0);
    while let Some(found) = memchr::memchr(b'\\', json.get(from..).unwrap_or_default()) {
        let at = from + found;
        let digits = json.get(at + 2..at + 6).filter(|_| json[at + 1] == b'u').unwrap_or_default();
        let code =
            digits.iter().try_fold(0, |code, digit| Some(code << 4 | char::from(*digit).to_digit(16)?));
        beyond += match code {
            Some(0x80..0x800) => 4_u64,
            // Half of a pair is two bytes of four, or all of a replacement.
            Some(0x800..) => 3,
            _ => 0,
        };
        from = at + 2;
    }
    beyond
}

impl Facts {
    /// What every character beyond ASCII takes more as an escape.
    fn anew(&mut self, text: &str) {
        let more = |c: char| if c.is_ascii() { 0 } else { 6 * c.len_utf16() - c.len_utf8() };
        self.written_anew += text.chars().map(more).sum::<usize>() as u64;
    }

    fn value(&mut self, under: Under, text: &str) {
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
            Under::Nothing | Under::Audio | Under::Object => {}
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
            "input" | "args" | "response" | "data" => Under::Object,
            "video_url" => {
                self.unsizable = Some("a video");
                Under::Nothing
            }
            _ => Under::Nothing,
        }
    }
}

impl Look for Facts {
    type At = At;

    fn text(&mut self, at: At, text: &str) {
        if at.anew {
            self.anew(text);
        }
        self.value(at.under, text);
    }

    fn element(&mut self, list: At) -> At {
        // A list is items of a request, not what a tool was told.
        let under = if list.under == Under::Object { Under::Nothing } else { list.under };
        At { under, ..list }
    }

    fn field(&mut self, object: At, name: &str) -> Option<At> {
        let anew = object.anew || object.under == Under::Object;
        if anew {
            self.anew(name);
        }
        Some(At { under: self.name(name, object.under), anew })
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
    fn escapes_count_as_the_characters_that_they_stand_for() {
        for text in ["привет", "日本語", "naïve", "😀 a", "plain \"quoted\" \\u0436 \n"] {
            let raw = serde_json::to_string(text).unwrap();
            let escaped: String = raw
                .chars()
                .map(|c| match c.is_ascii() {
                    true => c.to_string(),
                    false => {
                        c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
                    }
                })
                .collect();
            let facts = read(escaped.as_bytes()).unwrap();
            assert!(escaped.len() as u64 - facts.escapes >= raw.len() as u64, "{text}");
            assert!(escaped.len() as u64 - facts.escapes <= raw.len() as u64 + 2, "{text}");
            assert_eq!(read(raw.as_bytes()).unwrap().escapes, 0, "{text}");
        }
        for odd in [&b"\\"[..], b"\\u", b"\\u12", b"\\uzzzz", b"\\\\u0436", b"\\u+123"] {
            assert_eq!(escapes(odd), 0);
        }
    }

    #[test]
    fn half_a_surrogate_is_walked_over() {
        let text = br#"{"messages":[{"content":"\ud800"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]}"#;
        let facts = read(text).unwrap();
        assert_eq!((facts.inline_images, facts.escapes), (1, 3));
        assert!(read(br#"{"a":"\udc00","b":"\x"}"#).is_err());
    }

    #[test]
    fn what_a_server_writes_anew_may_become_longer() {
        let of = |json: &str| read(json.as_bytes()).unwrap().written_anew;
        assert_eq!(of(r#"{"content":[{"type":"tool_use","input":{"q":"жж"}}]}"#), 8);
        assert_eq!(of(r#"{"parts":[{"functionCall":{"args":{"\u0436":["ж"]}}}]}"#), 8);
        assert_eq!(of(r#"{"functionResponse":{"response":{"a":{"b":"😀"}}}}"#), 8);
        assert_eq!(of(r#"{"input":[{"role":"user","content":"жж"}],"data":"ж"}"#), 0, "text as it is");
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_crash() {
        assert!(read("[".repeat(100_000).as_bytes()).is_err());
    }
}
