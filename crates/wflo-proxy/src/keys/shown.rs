//! Where a request shows a key.
//!
//! Owns the places in which clients put keys, and what is cut where a key stands elsewhere. Whether it is
//! one is asked.

use http::{HeaderMap, header};

/// Headers that hold an API key and nothing else.
const PLAIN: [&str; 3] = ["x-api-key", "api-key", "x-goog-api-key"];

/// Everything that may be a key, wherever a client of some dialect puts one.
pub(super) fn shown<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> impl Iterator<Item = &'a [u8]> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, rest) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(rest)
    });
    let plain = PLAIN.iter().flat_map(|name| headers.get_all(*name)).map(http::HeaderValue::as_bytes);
    let query = query.into_iter().flat_map(|query| query.split('&'));
    let query = query.filter_map(|pair| pair.strip_prefix("key=")).map(str::as_bytes);
    bearer.chain(plain).chain(query).filter(|shown| !shown.is_empty())
}

/// Cuts the keys that a request shows from wherever else it has them: what is no credential by its
/// name goes on to the provider.
pub(super) fn cut<B>(request: &mut http::Request<B>, is_key: impl Fn(&[u8]) -> bool) {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let secrets: Vec<Vec<u8>> =
        shown(request.headers(), Some(&query)).filter(|shown| is_key(shown)).map(<[u8]>::to_vec).collect();
    let holds = |text: &[u8]| {
        secrets.iter().any(|secret| text.windows(secret.len()).any(|window| window == secret.as_slice()))
    };
    let is_credential = |name: &str| name == "authorization" || PLAIN.contains(&name);
    let headers = request.headers();
    let names =
        headers.iter().filter(|(name, value)| !is_credential(name.as_str()) && holds(value.as_bytes()));
    let names: Vec<http::HeaderName> = names.map(|(name, _)| name.clone()).collect();
    for name in names {
        request.headers_mut().remove(name);
    }
    if !holds(query.as_bytes()) {
        return;
    }
    let kept = query.split('&').filter(|pair| !holds(pair.as_bytes())).collect::<Vec<_>>().join("&");
    let path = request.uri().path();
    let cut = if kept.is_empty() { path.to_owned() } else { format!("{path}?{kept}") };
    let mut parts = request.uri().clone().into_parts();
    if let Ok(cut) = cut.parse() {
        parts.path_and_query = Some(cut);
    }
    if let Ok(uri) = http::Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}
