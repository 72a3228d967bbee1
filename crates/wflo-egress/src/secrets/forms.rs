//! The ways in which a host may write a value that it repeats.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// A value as it is, and as addresses, JSON, HTML and basic authentication have it.
pub(super) fn all(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned(), BASE64.encode(value)];
    // Besides letters and digits, some leave a path as it is, and some what JavaScript's encodeURIComponent does.
    for kept in ["-._~", "-._~/", "-._~!'()*"] {
        for is_upper in [true, false] {
            let form = percent(value, kept, is_upper);
            forms.push(form.replace("%20", "+"));
            forms.push(form);
        }
    }
    let html = r#"<>&'""#;
    for slash in ["/", r"\/"] {
        // Some write for a page what they write in JSON.
        for in_page in ["", html, "<>&"] {
            forms.push(each(value, |character| match character {
                '/' => slash.to_owned(),
                '"' | '\\' if !in_page.contains(character) => format!("\\{character}"),
                _ if in_page.contains(character) => format!("\\u{:04x}", u32::from(character)),
                _ => character.to_string(),
            }));
        }
    }
    for [double, single] in
        [["&quot;", "&#39;"], ["&#34;", "&#39;"], ["&quot;", "&#x27;"], ["&quot;", "'"], ["\"", "'"]]
    {
        forms.push(each(value, |character| match character {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => double.to_owned(),
            '\'' => single.to_owned(),
            _ => character.to_string(),
        }));
    }
    forms.sort();
    forms.dedup();
    forms
}

/// As a parameter of a query has it (RFC 3986, 2.3).
pub(super) fn escaped(text: &str) -> String {
    percent(text, "-._~", true)
}

fn percent(text: &str, kept: &str, is_upper: bool) -> String {
    let written = |byte: u8| match char::from(byte) {
        character if byte.is_ascii_alphanumeric() || kept.contains(character) => character.to_string(),
        _ if is_upper => format!("%{byte:02X}"),
        _ => format!("%{byte:02x}"),
    };
    text.bytes().map(written).collect()
}

fn each(text: &str, written: impl Fn(char) -> String) -> String {
    text.chars().map(written).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_in_what_writes_it() {
        let forms = all(r#"a/b&c"d\e'f<g> h=!"#);
        for form in [
            r#"a/b&c"d\e'f<g> h=!"#,
            r#"a/b&c\"d\\e'f<g> h=!"#,
            r#"a\/b&c\"d\\e'f<g> h=!"#,
            r#"a/b\u0026c\"d\\e'f\u003cg\u003e h=!"#,
            r"a\/b\u0026c\u0022d\\e\u0027f\u003cg\u003e h=!",
            r#"a/b&amp;c&quot;d\e&#39;f&lt;g&gt; h=!"#,
            r#"a/b&amp;c&#34;d\e&#39;f&lt;g&gt; h=!"#,
            r#"a/b&amp;c&quot;d\e&#x27;f&lt;g&gt; h=!"#,
            r#"a/b&amp;c"d\e'f&lt;g&gt; h=!"#,
            "a%2Fb%26c%22d%5Ce%27f%3Cg%3E%20h%3D%21",
            "a%2fb%26c%22d%5ce%27f%3cg%3e%20h%3d%21",
            "a/b%26c%22d%5Ce%27f%3Cg%3E%20h%3D%21",
            "a%2Fb%26c%22d%5Ce'f%3Cg%3E%20h%3D!",
            "a%2Fb%26c%22d%5Ce%27f%3Cg%3E+h%3D%21",
            "YS9iJmMiZFxlJ2Y8Zz4gaD0h",
        ] {
            assert!(forms.iter().any(|own| own == form), "{form}: {forms:#?}");
        }
        assert!(forms.iter().all(|form| form.bytes().all(|byte| (b' '..=b'~').contains(&byte))));
        assert_eq!(all("letters-and-digits-1").len(), 2, "as it is, and in base64");
    }
}
