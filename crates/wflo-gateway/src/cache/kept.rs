//! Whether an answer is one that may be given again.

use crate::dialect::json::Fields;
use crate::ledger::Recorded;
use crate::secret::Secret;
use crate::usage::Usage;

/// Values by which answers of the status 200 say that they failed.
const FAILED: [&[u8]; 8] = [
    b"error",
    b"ERROR",
    b"ERROR_TOXIC",
    b"TIMEOUT",
    b"MALFORMED_FUNCTION_CALL",
    b"failed",
    b"cancelled",
    b"response.failed",
];

/// Whether an answer is whole, was a success, has a bill that is known, and holds nothing of its provider's key.
pub(crate) fn is_kept(
    recorded: &Recorded,
    usage: Option<&Usage>,
    uncertain: bool,
    key: Option<&Secret>,
) -> bool {
    let whole = recorded.status == 200 && !recorded.interrupted && recorded.broke.is_none();
    if !whole || uncertain || usage.is_none() || recorded.body.is_empty() {
        return false;
    }
    let told = key.is_some_and(|key| memchr::memmem::find(&recorded.body, key.expose().as_bytes()).is_some());
    !told && !says_failed(&recorded.body)
}

/// Whether an answer, whole or in events, says in itself that it is none. A text that an answer only contains is
/// escaped, and so is no value.
fn says_failed(body: &[u8]) -> bool {
    let whole = body.first() == Some(&b'{');
    let has_error = || {
        Fields::read(body)
            .map_or(true, |fields| fields.get("error").is_some_and(|field| field.value != "null"))
    };
    if whole && has_error() {
        return true;
    }
    FAILED.iter().any(|word| {
        memchr::memmem::find_iter(body, word).any(|at| {
            let before = body.get(..at).and_then(<[u8]>::split_last);
            let quoted =
                before.is_some_and(|(quote, _)| *quote == b'"') && body.get(at + word.len()) == Some(&b'"');
            let value = before.is_some_and(|(_, rest)| rest.trim_ascii_end().last() == Some(&b':'));
            quoted && value
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Dimension;
    use wflo_core::money::NanoUsd;

    const GOOD: &str = r#"{"choices":[{"message":{"content":"an \"error\": \"failed\""},"finish_reason":"stop"}],"error":null,"usage":{}}"#;

    fn kept(change: impl FnOnce(&mut Recorded), uncertain: bool, usage: bool) -> bool {
        let mut recorded = Recorded {
            status: 200,
            headers: Vec::new(),
            body: GOOD.into(),
            interrupted: false,
            broke: None,
            usage: None,
            cost: NanoUsd::ZERO,
        };
        change(&mut recorded);
        let usage = usage.then(|| Usage::of(&[(Dimension::Input, 1)]));
        is_kept(&recorded, usage.as_ref(), uncertain, Secret::new("sk-hidden-key").as_ref())
    }

    #[test]
    fn only_whole_answers_with_a_known_bill_are_kept() {
        assert!(kept(|_| {}, false, true));
        assert!(!kept(|_| {}, true, true), "uncertain");
        assert!(!kept(|_| {}, false, false), "no usage");
        assert!(!kept(|recorded| recorded.status = 201, false, true));
        assert!(!kept(|recorded| recorded.status = 429, false, true));
        assert!(!kept(|recorded| recorded.interrupted = true, false, true));
        assert!(!kept(|recorded| recorded.broke = Some("x".to_owned()), false, true));
        assert!(!kept(|recorded| recorded.body = "".into(), false, true));
    }

    #[test]
    fn an_answer_that_holds_the_key_or_says_that_it_failed_is_not() {
        for body in [
            r#"{"choices":[],"note":"sk-hidden-key"}"#,
            r#"{"error":{"message":"x"},"usage":{}}"#,
            r#"{"choices":[{"finish_reason": "error"}]}"#,
            r#"{"status":"failed","error":null}"#,
            r#"{"a":1,"a":2}"#,
            "data: {\"type\":\"response.failed\"}\n\n",
            "data: {\"candidates\":[{\"finishReason\":\"MALFORMED_FUNCTION_CALL\"}]}\n\n",
            "{\"finish_reason\" : \"ERROR\"}",
        ] {
            assert!(!kept(|recorded| recorded.body = body.into(), false, true), "{body}");
        }
        let events = "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"error\\\": \\\"failed\\\"\"}}]}\n\ndata: [DONE]\n\n";
        assert!(kept(|recorded| recorded.body = events.into(), false, true));
    }
}
