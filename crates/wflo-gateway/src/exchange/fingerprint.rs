//! What makes a request this one and no other: by it a call is known again on a resume.
//!
//! Owns what counts. That is every byte of the body but the ids of function calls in Google's dialect: models
//! before Gemini 3 give calls none, and clients invent random ones, which name the same calls anew in every
//! process. Which call an answer belongs to still counts.

use std::collections::HashMap;
use std::ops::Range;

use super::Ask;
use crate::dialect::walk::{Look, walk};
use crate::dialect::{Dialect, Endpoint, google, query};

/// BLAKE3 of what makes the request this one and no other.
pub(super) fn fingerprint(ask: &Ask) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [ask.dialect.name(), ask.endpoint.name()] {
        hasher.update(part.as_bytes()).update(b"\n");
    }
    for name in ["anthropic-version", "anthropic-beta", "openai-beta"] {
        let value = ask.headers.get(name).map_or(&b""[..], |value| value.as_bytes());
        hasher.update(&(value.len() as u64).to_le_bytes()).update(value);
    }
    // What is asked is in the path where the body does not say it all.
    if ask.dialect == Dialect::Google || ask.endpoint == Endpoint::Passthrough {
        let query = query::without(ask.query.as_deref().unwrap_or_default(), &google::CREDENTIALS);
        for part in [ask.method.as_str(), &ask.suffix, &query.unwrap_or_default()] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
    }
    add(&mut hasher, ask.dialect, &ask.body);
    hasher.finalize().to_hex().to_string()
}

fn add(hasher: &mut blake3::Hasher, dialect: Dialect, body: &[u8]) {
    let ids = if dialect == Dialect::Google { ids(body) } else { Vec::new() };
    let (mut rest, mut behind, mut known) = (body, 0, HashMap::new());
    for id in ids {
        let (before, from) = rest.split_at(id.start - behind);
        let (name, after) = from.split_at(id.len());
        let next = known.len() as u64;
        // No JSON text has a zero byte, so a number is never taken for what somebody wrote.
        let number: u64 = *known.entry(name).or_insert(next);
        hasher.update(before).update(&number.to_be_bytes());
        (rest, behind) = (after, id.end);
    }
    hasher.update(rest);
}

/// Where the ids of function calls and of their answers stand, in their order.
fn ids(body: &[u8]) -> Vec<Range<usize>> {
    let mut ids = Ids { body: body.as_ptr_range(), found: Vec::new() };
    // What is no JSON has been refused.
    let _ = walk(&mut ids, At::Body, body);
    ids.found
}

struct Ids {
    body: Range<*const u8>,
    found: Vec<Range<usize>>,
}

#[derive(Clone, Copy)]
enum At {
    Body,
    Contents,
    Parts,
    Call,
    Id,
    Elsewhere,
}

impl Look for Ids {
    type At = At;

    fn text(&mut self, at: At, text: &str) {
        // One with an escape is not where it was written, and stays as it is.
        if matches!(at, At::Id) && self.body.contains(&text.as_ptr()) {
            let start = text.as_ptr() as usize - self.body.start as usize;
            self.found.push(start..start + text.len());
        }
    }

    fn element(&mut self, list: At) -> At {
        match list {
            At::Contents | At::Parts => list,
            _ => At::Elsewhere,
        }
    }

    fn field(&mut self, object: At, name: &str) -> Option<At> {
        match (object, name) {
            (At::Body, "contents") => Some(At::Contents),
            (At::Contents, "parts") => Some(At::Parts),
            (At::Parts, "functionCall" | "function_call" | "functionResponse" | "function_response") => {
                Some(At::Call)
            }
            (At::Call, "id") => Some(At::Id),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(dialect: Dialect, body: &str) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        add(&mut hasher, dialect, body.as_bytes());
        hasher.finalize()
    }

    /// Two calls and their answers, by these ids.
    fn body(ids: [&str; 4]) -> String {
        let [a, b, c, d] = ids;
        format!(
            r#"{{"contents": [{{"role": "user", "parts": [{{"text": "go"}}]}},
                {{"role": "model", "parts": [{{"functionCall": {{"id": "{a}", "name": "f", "args": {{"id": "x"}}}}}},
                                             {{"function_call": {{"name": "g", "id": "{b}"}}}}]}},
                {{"parts": [{{"functionResponse": {{"id": "{c}", "name": "f", "response": {{}}}}}},
                            {{"functionResponse": {{"id": "{d}", "name": "g", "response": {{}}}}}}]}}]}}"#
        )
    }

    #[test]
    fn invented_ids_do_not_count_and_what_they_name_does() {
        let google = |ids| print(Dialect::Google, &body(ids));
        let said = google(["one", "two", "one", "two"]);
        assert_eq!(said, google(["3f2a", "", "3f2a", ""]));
        assert_ne!(said, google(["one", "two", "two", "one"]));
        assert_ne!(said, google(["one", "two", "one", "three"]));
        assert_ne!(said, google(["one", "one", "one", "one"]));
        let same = body(["one", "two", "one", "two"]);
        assert_ne!(
            said,
            print(Dialect::Google, &same.replace("\"x\"", "\"y\"")),
            "of what is asked all counts"
        );
        assert_ne!(said, print(Dialect::Google, &same.replace("\"go\"", "\"no\"")));
    }

    #[test]
    fn elsewhere_every_byte_counts() {
        let openai = |ids| print(Dialect::OpenAi, &body(ids));
        assert_ne!(openai(["one", "two", "one", "two"]), openai(["1", "2", "1", "2"]));
        for other in
            [r#"{"contents": 7}"#, "[]", "no json", "", r#"{"contents": [{"parts": [{"text": "id"}]}]}"#]
        {
            assert_eq!(print(Dialect::Google, other), print(Dialect::OpenAi, other));
        }
    }
}
