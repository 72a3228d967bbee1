//! What a URL's query says to a provider.
//!
//! Owns reading and cutting it. What passes on keeps its bytes: a part is cut out whole, and nothing is
//! encoded anew.

use super::Dialect;

/// The parts of a query, each with its name and value decoded.
pub(crate) fn parts(query: &str) -> impl Iterator<Item = (&str, String, String)> {
    query.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (part, decoded(name), decoded(value))
    })
}

/// What of a query passes on: the parts of each dialect that are known to leave the request what its body says.
pub(crate) fn passed(dialect: Dialect, query: &str) -> Option<String> {
    let known = |name: &str, value: &str| match (dialect, name) {
        (Dialect::Anthropic, "beta") => value == "true",
        // Azure's.
        (Dialect::OpenAi, "api-version") => {
            value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        }
        (Dialect::Google, "alt" | "$alt") => matches!(value, "json" | "sse"),
        (Dialect::Google, "prettyPrint" | "$prettyPrint") => matches!(value, "true" | "false"),
        _ => false,
    };
    let kept: Vec<&str> =
        parts(query).filter(|(_, name, value)| known(name, value)).map(|(part, _, _)| part).collect();
    (!kept.is_empty()).then(|| kept.join("&"))
}

/// The query without the parts of these names; `None` when nothing is left.
pub(crate) fn without(query: &str, names: &[&str]) -> Option<String> {
    let kept: Vec<&str> = parts(query)
        .filter(|(_, name, _)| !names.contains(&name.as_str()))
        .map(|(part, _, _)| part)
        .collect();
    (!kept.is_empty()).then(|| kept.join("&"))
}

/// `%41` and `+` decoded; what is no escape stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escape = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let value = escape.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        at += if value.is_some() { 3 } else { 1 };
        out.push(value.unwrap_or(if *byte == b'+' { b' ' } else { *byte }));
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_passes() {
        let of = |dialect, query| passed(dialect, query);
        assert_eq!(of(Dialect::Anthropic, "beta=true&n=8"), Some("beta=true".to_owned()));
        assert_eq!(of(Dialect::Anthropic, "beta=true;n=8"), None);
        assert_eq!(
            of(Dialect::OpenAi, "n=8&api-version=2025-01-01&model=o1-pro").as_deref(),
            Some("api-version=2025-01-01")
        );
        assert_eq!(
            of(Dialect::Google, "a;alt=proto&%61lt=sse&$httpMethod=GET").as_deref(),
            Some("%61lt=sse")
        );
        assert_eq!(
            of(Dialect::Google, "alt=sse;alt=proto&uploadType=media&generationConfig.candidateCount=8"),
            None
        );
        assert_eq!(of(Dialect::Cohere, "beta=true"), None);
    }

    #[test]
    fn a_part_is_cut_however_its_name_is_written_and_the_rest_stays() {
        let cut = |query| without(query, &["key"]);
        assert_eq!(cut("alt=sse&key=AIza&x=%2f"), Some("alt=sse&x=%2f".to_owned()));
        assert_eq!(cut("%6bey=AIza"), None);
        assert_eq!(cut("key"), None);
        assert_eq!(cut("k%e9y=1&mon%key=2"), Some("k%e9y=1&mon%key=2".to_owned()));
        assert_eq!(cut(""), None);
    }
}
