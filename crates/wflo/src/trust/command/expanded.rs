//! The words of a command as a shell makes them, and whether one that only it can tell may name something of the project.

use std::path::Path;

use super::line::{self, ANY, GLOB};
use super::running::entries;
use crate::paths::lexical;

/// What runs a line that follows its `-c`.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ksh", "ash"];

/// The words of the lines that a shell is given, as it makes them.
pub(super) fn expanded(words: &[String], root: &Path) -> Vec<String> {
    let is_shell = |word: &String| SHELLS.contains(&word.rsplit('/').next().unwrap_or_default());
    let Some(shell) = words.iter().position(is_shell) else { return Vec::new() };
    let mut after = words.iter().skip(shell + 1);
    let is_flag = |word: &String| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
    let Some(line) = after.find(|word| is_flag(word)).and_then(|_| after.next()) else { return Vec::new() };
    let known = |name: &str| match name {
        "PWD" => Some(root.display().to_string()),
        "OLDPWD" => None,
        name => std::env::var(name).ok(),
    };
    line::words(line, &known)
}

/// Whether a word that only a shell can tell may name something of the project. An address is no path.
pub(super) fn may_name(word: &str, root: &Path) -> bool {
    let pieces = || word.split(['=', ',', ':']);
    !word.contains("://") && pieces().any(|piece| is_path(piece) && begins_like_one(piece, root))
}

/// Whether what a shell makes of it may be a path: what it knows is a part of it, or it is like names.
fn is_path(piece: &str) -> bool {
    let is_whole = piece.chars().all(|c| c == ANY || c == GLOB);
    !is_whole && piece.contains([ANY, GLOB]) && (piece.contains('/') || piece.contains(GLOB))
}

/// Whether something that is there begins like it, and is like all of it where it is a name.
fn begins_like_one(piece: &str, root: &Path) -> bool {
    let Some((literal, rest)) = piece.split_once([ANY, GLOB]) else { return false };
    let (folder, start) = literal.rfind('/').map_or(("", literal), |at| literal.split_at(at + 1));
    let at = lexical(&root.join(folder));
    if !at.starts_with(root) {
        // On the way to the project, or elsewhere.
        let way = lexical(&at.join(start));
        return root.as_os_str().as_encoded_bytes().starts_with(way.as_os_str().as_encoded_bytes());
    }
    let end = rest.rsplit([ANY, GLOB]).next().unwrap_or_default();
    let like =
        |name: &str| name.strip_prefix(start).is_some_and(|name| rest.contains('/') || name.ends_with(end));
    entries(&at).iter().filter_map(|path| path.file_name()?.to_str()).any(like)
}
