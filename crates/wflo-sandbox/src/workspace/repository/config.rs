//! A reader of Git's configuration (git-config(1), "Syntax"). It starts nothing and never fails: what Git could not
//! read is left out.

/// One setting. Names are in lower case, a section's second name is as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) section: String,
    pub(crate) key: String,
    pub(crate) value: String,
}

/// The settings of a file, in its order.
pub(crate) fn settings(content: &[u8]) -> Vec<Setting> {
    let text = String::from_utf8_lossy(content);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n");
    let mut rest = text.as_str();
    let (mut found, mut section) = (Vec::new(), String::new());
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = rest.trim_start();
        } else if first == '#' || first == ';' {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(header) = rest.strip_prefix('[') {
            let end = header_end(header);
            let name = header.get(..end).unwrap_or(header);
            section = name.split([' ', '\t', '.', '"']).next().unwrap_or("").to_ascii_lowercase();
            rest = header.get(end + 1..).unwrap_or("");
        } else {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(rest.len());
            let (key, tail) = rest.split_at(end);
            let tail = tail.trim_start_matches([' ', '\t']);
            let (value, tail) = match tail.strip_prefix('=') {
                Some(tail) => value(tail),
                // A key alone is `true`, and what cannot be a key goes on in the next line.
                None => ("true".to_owned(), tail.split_once('\n').map_or("", |(_, rest)| rest)),
            };
            if !key.is_empty() {
                found.push(Setting { section: section.clone(), key: key.to_ascii_lowercase(), value });
            }
            rest = tail;
        }
    }
    found
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
fn value(text: &str) -> (String, &str) {
    let (mut out, mut kept) = (String::new(), 0);
    let (mut quoted, mut comment) = (false, false);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\n' => {
                out.truncate(kept);
                return (out, text.get(at + 1..).unwrap_or(""));
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
    (out, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_git_reads_them() {
        let text = concat!(
            "\u{feff}# a comment\n[core] ; more\r\n\thooksPath = scripts/hooks # here\n\tbare\n",
            "[Filter \"a]b\"]clean = \"tools/clean me\"  %f \n  smudge= x\\\n y\\\"z\\t\n",
            "[alias]\n\ttest = \"!sh -c 'make # x'\" ; end\n[include]\npath=\n= odd\n\tdone = 1",
        );
        let found = settings(text.as_bytes());
        let found: Vec<(&str, &str, &str)> =
            found.iter().map(|s| (s.section.as_str(), s.key.as_str(), s.value.as_str())).collect();
        assert_eq!(
            found,
            [
                ("core", "hookspath", "scripts/hooks"),
                ("core", "bare", "true"),
                ("filter", "clean", "tools/clean me  %f"),
                ("filter", "smudge", "x y\"z\t"),
                ("alias", "test", "!sh -c 'make # x'"),
                ("include", "path", ""),
                ("include", "done", "1"),
            ]
        );
    }

    #[test]
    fn whatever_a_file_holds_is_read_to_its_end() {
        for text in ["[", "[\"", "a=\\", "a=\"\\", "\\", "[a]\n]]b=1\n=", "a = b\\\r\n c", "\u{e4}=1\nx=2"] {
            let _ = settings(text.as_bytes());
        }
        let found = settings(b"\xff\xfe = 1\n[a]\nx = 2\n");
        assert_eq!(found.len(), 1);
    }
}
