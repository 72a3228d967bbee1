//! A reader of the syntax of Git's configuration (git-config(1), "Syntax"). It starts nothing, follows nothing and never
//! fails: what Git could not read is left out.

/// What stands in a file, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// What is between the brackets of a header.
    Section(&'a str),
    /// A key as it is written, and its value; none where the key stands alone, which means `true`.
    Setting(&'a str, Option<String>),
}

/// The text of a file as Git takes it.
pub(crate) fn text(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content);
    text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n")
}

/// The first name of a section, in lower case.
pub(crate) fn first_name(header: &str) -> String {
    header.split([' ', '\t', '.', '"']).next().unwrap_or("").to_ascii_lowercase()
}

/// What stands in a [`text`].
pub(crate) fn items(text: &str) -> impl Iterator<Item = Item<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start();
            let first = rest.chars().next()?;
            if first == '#' || first == ';' {
                rest = after_line(rest);
            } else if let Some(header) = rest.strip_prefix('[') {
                let end = header_end(header);
                rest = header.get(end + 1..).unwrap_or("");
                return Some(Item::Section(header.get(..end).unwrap_or(header)));
            } else {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(rest.len());
                let (key, tail) = rest.split_at(end);
                let tail = tail.trim_start_matches([' ', '\t']);
                let value;
                (value, rest) = match tail.strip_prefix('=') {
                    Some(tail) => with_value(tail),
                    // What cannot be a key goes on in the next line.
                    None => (None, after_line(tail)),
                };
                if !key.is_empty() {
                    return Some(Item::Setting(key, value));
                }
            }
        }
    })
}

fn after_line(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, rest)| rest)
}

/// Where the bracket is that closes a section's header; quotes may hold one.
fn header_end(header: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in header.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ']' if !quoted => return at,
            '\n' => return at,
            _ => {}
        }
    }
    header.len()
}

/// The value that begins here, and what comes after its line.
fn with_value(text: &str) -> (Option<String>, &str) {
    let (mut out, mut kept) = (String::new(), 0);
    let (mut quoted, mut comment) = (false, false);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\n' => {
                out.truncate(kept);
                return (Some(out), text.get(at + 1..).unwrap_or(""));
            }
            _ if comment => {}
            '#' | ';' if !quoted => comment = true,
            '"' => quoted = !quoted,
            '\\' => match chars.next().map(|(_, escaped)| escaped) {
                Some('\n') | None => {}
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('b') => {
                    out.pop();
                }
                Some(other) => out.push(other),
            },
            // Blanks before the value do not count, nor those after it.
            c if c.is_whitespace() && !quoted => {
                if !out.is_empty() {
                    out.push(c);
                }
                continue;
            }
            c => out.push(c),
        }
        if !comment {
            kept = out.len();
        }
    }
    out.truncate(kept);
    (Some(out), "")
}

/// A value as it is written, so that it is read again as it is.
pub(crate) fn written(value: &str) -> String {
    let blank = |c: Option<char>| c.is_some_and(char::is_whitespace);
    let plain = !value.contains(['"', '\\', '#', ';', '\n', '\t', '\u{8}'])
        && !blank(value.chars().next())
        && !blank(value.chars().last());
    if plain {
        return value.to_owned();
    }
    let mut out = String::from('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_git_reads_them() {
        let content = concat!(
            "\u{feff}# a comment \\\n[core] ; more\r\n\thooksPath = scripts/hooks # here \\\n\tbare\n",
            "[Filter \"a]b\"]clean = \"tools/clean me\"  %f \n  smudge= x\\\n y\\\"z\\t\n",
            "[alias]\n\ttest = \"!sh -c 'make # x'\" ; end\n[include]\npath=\n= odd\n\tdone = 1",
        );
        let text = text(content.as_bytes());
        let setting = |key, value: &str| Item::Setting(key, Some(value.to_owned()));
        let expected = [
            Item::Section("core"),
            setting("hooksPath", "scripts/hooks"),
            Item::Setting("bare", None),
            Item::Section("Filter \"a]b\""),
            setting("clean", "tools/clean me  %f"),
            setting("smudge", "x y\"z\t"),
            Item::Section("alias"),
            setting("test", "!sh -c 'make # x'"),
            Item::Section("include"),
            setting("path", ""),
            setting("done", "1"),
        ];
        assert_eq!(items(&text).collect::<Vec<_>>(), expected);
        assert_eq!(first_name("Filter \"a]b\""), "filter");
    }

    #[test]
    fn a_value_that_is_written_is_read_again() {
        for value in ["", "plain x", " edge", "a;b", "#", "q\"\\", "n\nt\t", "true"] {
            let text = format!("[a]\nk = {}\n", written(value));
            let found: Vec<Item> = items(&text).skip(1).collect();
            assert_eq!(found, [Item::Setting("k", Some(value.to_owned()))], "{text}");
        }
    }

    #[test]
    fn whatever_a_file_holds_is_read_to_its_end() {
        for content in ["[", "[\"", "a=\\", "a=\"\\", "\\", "[a]\n]]b=1\n=", "a = b\\\r\n c", "\u{e4}=1\nx=2"]
        {
            let _ = items(&text(content.as_bytes())).count();
        }
        let text = text(b"\xff\xfe = 1\n[a]\nx = 2\n");
        assert_eq!(items(&text).count(), 2);
    }
}
