//! The text of a request, counted by the encoding of its model.
//!
//! Owns which of a body is text that OpenAI's servers take as it is: the contents of messages and of the items
//! of a response, instructions, and what is embedded. All else (names, roles, arguments of calls, tools,
//! schemas, the JSON around them) stays bounded by its bytes.

use crate::dialect::request::Request;
use crate::dialect::walk::{Look, walk};
use crate::dialect::{Dialect, Endpoint};
use crate::encoding::{Encoding, Work};
use crate::price::Price;

/// The encoding by which the text of a request is billed, if that is certain.
pub(crate) fn encoding(request: &Request, price: &Price) -> Option<Encoding> {
    let counts = matches!(request.endpoint, Endpoint::Chat | Endpoint::Responses | Endpoint::Embeddings);
    // What is read again, or beside text, is bounded by the window.
    let bounded = request.facts.unsizable.is_none() && request.tools.rounds == 0;
    let ours = price.own && request.dialect == Dialect::OpenAi && counts && bounded;
    ours.then(|| Encoding::of(&request.model)).flatten()
}

/// By how much the text in `body` has fewer tokens than bytes.
pub(crate) fn spared(request: &Request, encoding: Encoding, body: &[u8]) -> u64 {
    let mut count = Count { encoding, endpoint: request.endpoint, work: Work::default(), spared: 0 };
    // A body that was read once is read again.
    match walk(&mut count, Place::Top, body) {
        Ok(()) => count.spared,
        Err(_) => 0,
    }
}

struct Count {
    encoding: Encoding,
    endpoint: Endpoint,
    work: Work,
    spared: u64,
}

impl Count {
    fn count(&mut self, text: &str) {
        // What must be escaped in JSON has at least two bytes there.
        let escaped = text.bytes().filter(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).count();
        let written = text.len() + escaped;
        self.spared += (written as u64).saturating_sub(self.encoding.most_tokens(text, &mut self.work));
    }
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    /// In a message or an item.
    Message,
    /// A text that the model reads, or a list of such and of other things.
    Text,
}

impl Place {
    /// What the field of this name holds, if it is worth a look.
    fn under(self, name: &str, endpoint: Endpoint) -> Option<Place> {
        Some(match (self, name, endpoint) {
            (Place::Top, "messages", Endpoint::Chat) => Place::Message,
            // A list of items, a text, or a list of texts.
            (Place::Top, "input", Endpoint::Responses | Endpoint::Embeddings) => Place::Text,
            (Place::Top, "instructions", Endpoint::Responses) => Place::Text,
            (Place::Message | Place::Text, "content" | "text" | "output", _) => Place::Text,
            (Place::Message | Place::Text, _, _) => Place::Message,
            _ => return None,
        })
    }
}

impl Look for Count {
    type At = Place;

    fn text(&mut self, at: Place, text: &str) {
        if at == Place::Text {
            self.count(text);
        }
    }

    fn element(&mut self, list: Place) -> Place {
        list
    }

    fn field(&mut self, object: Place, name: &str) -> Option<Place> {
        object.under(name, self.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spared_of(endpoint: Endpoint, body: &str) -> u64 {
        let request = Request::parse(Dialect::OpenAi, endpoint, body.as_bytes(), "").unwrap();
        spared(&request, Encoding::O200k, body.as_bytes())
    }

    const TEXT: &str = "The lighthouse keeper wrote that nothing had happened in October.";

    #[test]
    fn text_is_counted_where_it_is_taken_as_it_is_and_nowhere_else() {
        let chat = |rest: &str| spared_of(Endpoint::Chat, &format!(r#"{{"model":"gpt-5-mini",{rest}}}"#));
        let whole = chat(&format!(r#""messages":[{{"role":"user","content":"{TEXT}"}}]"#));
        assert!(whole > 45, "{whole}");
        for counted in [
            format!(r#""messages":[{{"role":"user","content":[{{"type":"text","text":"{TEXT}"}}]}}]"#),
            format!(r#""messages":[{{"role":"tool","tool_call_id":"a","content":"{TEXT}"}}]"#),
        ] {
            assert_eq!(chat(&counted), whole, "{counted}");
        }
        for by_bytes in [
            format!(r#""messages":[],"user":"{TEXT}""#),
            format!(r#""messages":[{{"role":"user","name":"{TEXT}","content":""}}]"#),
            format!(
                r#""messages":[{{"role":"assistant","tool_calls":[{{"function":{{"arguments":"{TEXT}"}}}}]}}]"#
            ),
            format!(
                r#""messages":[],"tools":[{{"type":"function","function":{{"name":"f","description":"{TEXT}"}}}}]"#
            ),
            format!(r#""messages":[],"prediction":{{"type":"content","content":"{TEXT}"}}"#),
            format!(r#""messages":[],"content":"{TEXT}""#),
        ] {
            assert_eq!(chat(&by_bytes), 0, "{by_bytes}");
        }
        let response =
            |rest: &str| spared_of(Endpoint::Responses, &format!(r#"{{"model":"gpt-5-mini",{rest}}}"#));
        for counted in [
            format!(r#""input":"{TEXT}""#),
            format!(r#""input":[],"instructions":"{TEXT}""#),
            format!(r#""input":[{{"role":"user","content":[{{"type":"input_text","text":"{TEXT}"}}]}}]"#),
            format!(r#""input":[{{"type":"function_call_output","call_id":"a","output":"{TEXT}"}}]"#),
        ] {
            assert_eq!(response(&counted), whole, "{counted}");
        }
        let embedded = format!(r#"{{"model":"text-embedding-3-small","input":["{TEXT}","{TEXT}"]}}"#);
        assert_eq!(spared_of(Endpoint::Embeddings, &embedded), 2 * whole);
    }

    #[test]
    fn what_is_escaped_is_spared_by_no_more_than_it_has_there() {
        let text = "a \"b\" \\ c\n\td\u{1}".repeat(20);
        let body =
            serde_json::json!({"model": "m", "messages": [{"role": "user", "content": text}]}).to_string();
        let spared = spared_of(Endpoint::Chat, &body);
        let written = serde_json::to_string(&text).unwrap().len() as u64 - 2;
        let tokens = Encoding::O200k.most_tokens(&text, &mut Work::default());
        assert!(spared <= written - tokens && spared > 0, "{spared} of {written}");
    }
}
