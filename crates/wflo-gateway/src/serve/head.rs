//! What a request's head must not leave open.
//!
//! Owns what RFC 9112 tells a server to refuse and hyper passes on. What hyper refuses by itself (two
//! lengths, a folded line, a space before a colon) never comes here; a line that ends in LF alone may be
//! accepted (RFC 9112, 2.2) and is.

use http::request::Parts;
use http::{Version, header};

/// What two servers could read differently in the head of a request of HTTP/1.
pub(super) fn is_ambiguous(head: &Parts) -> Option<String> {
    if !matches!(head.version, Version::HTTP_10 | Version::HTTP_11) {
        return None;
    }
    match head.headers.get_all(header::HOST).iter().count() {
        1 => {}
        0 if head.version == Version::HTTP_10 => {}
        // RFC 9112, 3.2.
        0 => return Some("it has no `host`".to_owned()),
        _ => return Some("it has more than one `host`".to_owned()),
    }
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => None,
        (Some(one), None) if one.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => None,
        // A coding that is not undone (RFC 9112, 6.1), or one that is applied twice.
        _ => Some("its `transfer-encoding` is another than `chunked`, once".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_and_one_coding_are_wanted_of_http_1() {
        let asked = |version, headers: &[(&str, &str)]| {
            let mut request = http::Request::builder().version(version);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            is_ambiguous(&request.body(()).unwrap().into_parts().0).is_some()
        };
        let host = ("host", "a");
        let te = |coding| ("transfer-encoding", coding);
        assert!(!asked(Version::HTTP_11, &[host]));
        assert!(!asked(Version::HTTP_11, &[host, te("Chunked ")]));
        assert!(!asked(Version::HTTP_10, &[]));
        assert!(!asked(Version::HTTP_2, &[]));
        for wrong in
            [&[][..], &[host, host], &[host, te("gzip, chunked")], &[host, te("chunked"), te("chunked")]]
        {
            assert!(asked(Version::HTTP_11, wrong), "{wrong:?}");
        }
        assert!(asked(Version::HTTP_10, &[host, host]));
    }
}
