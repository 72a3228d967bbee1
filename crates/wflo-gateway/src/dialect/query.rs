//! What a URL's query says to a provider.
//!
//! Owns reading and cutting it. What passes on keeps its bytes: a part is cut out whole, and nothing is
//! encoded anew.

/// The parts of a query, each with its name and value decoded.
pub(crate) fn parts(query: &str) -> impl Iterator<Item = (&str, String, String)> {
    query.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (part, decoded(name), decoded(value))
    })
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
    fn a_part_is_cut_however_its_name_is_written_and_the_rest_stays() {
        let cut = |query| without(query, &["key"]);
        assert_eq!(cut("alt=sse&key=AIza&x=%2f"), Some("alt=sse&x=%2f".to_owned()));
        assert_eq!(cut("%6bey=AIza"), None);
        assert_eq!(cut("key"), None);
        assert_eq!(cut("k%e9y=1&mon%key=2"), Some("k%e9y=1&mon%key=2".to_owned()));
        assert_eq!(cut(""), None);
    }
}
