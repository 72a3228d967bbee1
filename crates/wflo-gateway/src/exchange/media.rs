//! How a request says that its body is written.
//!
//! A body is read here as JSON in UTF-8. A server that was told of another form would read another request out
//! of the same bytes, so no other form is taken, and the provider is told of this one.

use http::{HeaderMap, HeaderValue, header};

use crate::error::GatewayError;

/// Refuses headers by which the body is anything but plain JSON, and says that it is that.
///
/// # Errors
/// [`GatewayError::MediaType`].
pub(super) fn json(headers: &mut HeaderMap) -> Result<(), GatewayError> {
    for value in headers.get_all(header::CONTENT_ENCODING) {
        if !value.as_bytes().eq_ignore_ascii_case(b"identity") {
            return Err(GatewayError::MediaType { what: format!("content-encoding: {}", shown(value)) });
        }
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    if let (Some(value), more) = (types.next(), types.next())
        && (more.is_some() || !is_json(value))
    {
        return Err(GatewayError::MediaType { what: format!("content-type: {}", shown(value)) });
    }
    headers.remove(header::CONTENT_ENCODING);
    // In its place, where it has one.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(())
}

fn is_json(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    kind && parts.filter(|part| !part.is_empty()).all(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("charset")
            && ["utf-8", "utf8", "us-ascii"].iter().any(|known| value.eq_ignore_ascii_case(known))
    })
}

fn shown(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(lines: &[(&'static str, &'static str)]) -> Result<HeaderMap, GatewayError> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        json(&mut headers).map(|()| headers)
    }

    #[test]
    fn only_json_in_utf_8_is_taken_and_said() {
        for taken in [
            &[][..],
            &[("content-type", "application/json")],
            &[("content-type", "Application/JSON ; Charset=\"UTF-8\";")],
            &[("content-type", "application/json"), ("content-encoding", "identity")],
        ] {
            let headers = with(taken).unwrap();
            assert_eq!(headers[header::CONTENT_TYPE], "application/json");
            assert!(headers.get(header::CONTENT_ENCODING).is_none());
        }
        for refused in [
            &[("content-type", "application/json; charset=utf-7")][..],
            &[("content-type", "application/json;charset=utf-16le")],
            &[("content-type", "application/json; boundary=x")],
            &[("content-type", "application/jsonp")],
            &[("content-type", "text/plain")],
            &[("content-type", "")],
            &[("content-type", "application/x-www-form-urlencoded")],
            &[("content-type", "application/json"), ("content-type", "application/json; charset=utf-7")],
            &[("content-encoding", "gzip")],
            &[("content-encoding", "identity"), ("content-encoding", "br")],
        ] {
            assert!(matches!(with(refused), Err(GatewayError::MediaType { .. })), "{refused:?}");
        }
    }
}
