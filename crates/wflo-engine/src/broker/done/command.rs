//! A command as people are told of it: its words, and what else it is given.

use serde_json::Value;
use wflo_core::canonical::Digest;

/// The longest command of one line, in characters.
const COMMAND: usize = 2_000;

/// The words of a command that a step asks for.
pub(in crate::broker) fn argv_of(request: &Value) -> Vec<String> {
    let words = request["argv"].as_array().into_iter().flatten();
    words.map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect()
}

/// Adds to a command what else it is given: whole, because how much of it is put before a person at once is decided
/// where it is shown.
pub(in crate::broker) fn add_given(command: &mut Value, request: &Value) {
    for name in ["cwd", "env", "stdin"] {
        let given = &request[name];
        if !given.is_null() && given.as_object().is_none_or(|given| !given.is_empty()) {
            command[name] = given.clone();
        }
    }
}

/// A command on one line; of a longer one its beginning, with what tells it from others that begin so.
pub(in crate::broker) fn one_line(argv: &[String]) -> String {
    let whole = argv.join(" ");
    let Some((end, _)) = whole.char_indices().nth(COMMAND) else { return whole };
    let digest = Digest::of_bytes(whole.as_bytes());
    format!("{}… ({} bytes, BLAKE3 {})", &whole[..end], whole.len(), digest.short())
}
