//! Names as other file systems read them: a project may be shared, copied or committed to one that does.
//!
//! As Git does (`path.c`, `is_ntfs_dot_generic`; `utf8.c`, `next_hfs_char`): NTFS has short names, takes what
//! follows a colon for a stream, and drops dots and blanks at the end; HFS+ drops characters without a width.

/// What a part of a path, in lower case, may be elsewhere.
pub(super) fn folded(part: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(part);
    let visible: String = text.chars().filter(|c| !is_dropped(*c)).collect();
    let name = visible.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']);
    match name {
        "git~1" | "git~2" | "git~3" | "git~4" => b".git".to_vec(),
        // Nothing but dots and blanks: a name of its own here, and none there.
        "" => part.to_vec(),
        name => name.to_lowercase().into_bytes(),
    }
}

/// Characters that HFS+ does not compare.
fn is_dropped(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_it_would_be_elsewhere() {
        for git in
            [".git", ".git.", ".git . .", ".git::$index_allocation", "git~1", ".g\u{200c}it", "\u{feff}.git"]
        {
            assert_eq!(folded(git.as_bytes()), b".git", "{git}");
        }
        for own in ["git~9", "...", " ", "gitx", ".gitignore", "\u{e4}"] {
            assert_eq!(folded(own.as_bytes()), own.as_bytes(), "{own}");
        }
        assert_eq!(folded(b"a\xff.sh"), "a\u{fffd}.sh".as_bytes());
    }
}
