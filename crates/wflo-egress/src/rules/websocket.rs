//! Whether a request may become a WebSocket.
//!
//! Its GET is judged like any other. What is said afterwards is not: so it needs a rule that lets every method through at
//! its path, or that names [`METHOD`] among its methods, and nothing that has to be looked for in what is said.

use super::{Permit, Rules};
use crate::host::Target;

/// What a rule that names methods calls it.
pub(crate) const METHOD: &str = "WEBSOCKET";

/// Why a request that is allowed may not become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebSocketError {
    /// The rules name methods, and not this one.
    #[error("its rules name methods, and WEBSOCKET is none of them")]
    Unnamed,
    /// The rules name calls.
    #[error("its rules name calls, which nobody looks for in what is said over one")]
    Calls,
    /// People are asked about requests to the host.
    #[error("requests to it are asked about one by one, and what is said over one could not be")]
    Asked,
    /// People keep a part of the host out.
    #[error("people keep requests of it out, and what is said over one is not told apart")]
    KeptOut,
    /// Values could come back.
    #[error("the sandbox uses secrets, and what is said over one is not searched for their values")]
    Secrets,
}

impl Rules {
    /// Whether a request to `target` that these let through may become a WebSocket.
    ///
    /// # Errors
    /// Why not.
    pub fn websocket(&self, (target, secure): (&Target, bool), path: &str) -> Result<(), WebSocketError> {
        if self.asks_by_request(target, secure) {
            return Err(WebSocketError::Asked);
        }
        if self.keep_out_parts(target, secure) {
            return Err(WebSocketError::KeptOut);
        }
        match self.allowed_request(target, secure, METHOD, path) {
            Ok(Permit::Whole) => Ok(()),
            Ok(Permit::Calls(_)) => Err(WebSocketError::Calls),
            Err(_) => Err(WebSocketError::Unnamed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{rules, target};
    use super::*;

    #[test]
    fn what_goes_both_ways_unseen_needs_a_rule_for_that() {
        let at = target("a.example:443");
        let judge = |given: &[&str], path| rules(given).websocket((&at, true), path);
        assert_eq!(judge(&["https://a.example"], "/ws"), Ok(()));
        assert_eq!(judge(&["https://a.example/ws/**"], "/ws/1"), Ok(()));
        assert_eq!(judge(&["GET,WEBSOCKET https://a.example/ws"], "/ws"), Ok(()));
        assert_eq!(judge(&["GET https://a.example/ws"], "/ws"), Err(WebSocketError::Unnamed));
        assert_eq!(
            judge(&["GET https://a.example/**", "https://a.example/x"], "/ws"),
            Err(WebSocketError::Unnamed)
        );
        assert_eq!(judge(&["https://a.example/ws graphql=query"], "/ws"), Err(WebSocketError::Calls));
        // People have let it in. Where a part of it is allowed, they have opened the way to that part.
        let let_in = |given: &[&str]| {
            let answered = rules(given).answered(&["https://a.example".parse().unwrap()]);
            answered.websocket((&at, true), "/ws")
        };
        assert_eq!(judge(&[], "/ws"), Err(WebSocketError::Unnamed));
        assert_eq!(let_in(&[]), Ok(()));
        assert_eq!(let_in(&["GET https://a.example/ws"]), Err(WebSocketError::Unnamed));
        let asked = rules(&["https://a.example"]).asking(vec!["POST https://a.example/**".parse().unwrap()]);
        assert_eq!(asked.websocket((&at, true), "/ws"), Err(WebSocketError::Asked));
        let never = super::super::Change {
            rule: "POST https://a.example/**".parse().unwrap(),
            allowed: false,
            is_answer: true,
        };
        let kept_out = rules(&["https://a.example"]).with([never]);
        assert_eq!(kept_out.websocket((&at, true), "/ws"), Err(WebSocketError::KeptOut));
    }
}
