//! Calls that come back: a provider's address that leads, at once or by way of other gateways, to the
//! gateway that asks there.
//!
//! Owns the header by which a gateway knows a call of its own again. Without it, one request is
//! repeated until the machine has no more connections.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::GatewayError;
use crate::retry::chance;

/// The gateways of wflo that a call has come through.
const HEADER: HeaderName = HeaderName::from_static("wflo-hop");

/// What one gateway signs its calls with: a number drawn at its start, which says nothing of it.
pub(crate) struct Hop(HeaderValue);

impl Hop {
    pub(crate) fn draw() -> Hop {
        let number = format!("{:016x}", chance());
        // Hexadecimal digits are a header's value.
        Hop(HeaderValue::from_str(&number).unwrap_or(HeaderValue::from_static("0")))
    }

    /// Refuses a call that this gateway has sent itself.
    ///
    /// # Errors
    /// [`GatewayError::Loop`].
    pub(crate) fn refuse(&self, headers: &HeaderMap) -> Result<(), GatewayError> {
        let values = headers.get_all(HEADER).iter();
        let mut signs = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        match signs.any(|sign| sign.trim_ascii() == self.0.as_bytes()) {
            true => Err(GatewayError::Loop),
            false => Ok(()),
        }
    }

    /// Signs a call, behind those that it came through.
    pub(crate) fn sign(&self, headers: &mut HeaderMap) {
        headers.append(HEADER, self.0.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_knows_its_own_calls_however_they_were_joined_and_no_others() {
        let (own, other) = (Hop::draw(), Hop::draw());
        let mut headers = HeaderMap::new();
        assert_eq!(own.refuse(&headers), Ok(()));
        other.sign(&mut headers);
        assert_eq!(own.refuse(&headers), Ok(()));
        own.sign(&mut headers);
        assert_eq!(
            (own.refuse(&headers), other.refuse(&headers)),
            (Err(GatewayError::Loop), Err(GatewayError::Loop))
        );
        // A proxy in between may have made one line of several.
        let lines: Vec<&str> = headers.get_all(HEADER).iter().map(|line| line.to_str().unwrap()).collect();
        let joined = HeaderMap::from_iter([(HEADER, HeaderValue::from_str(&lines.join(" , ")).unwrap())]);
        assert_eq!(own.refuse(&joined), Err(GatewayError::Loop));
        assert_eq!(Hop::draw().refuse(&joined), Ok(()));
    }
}
