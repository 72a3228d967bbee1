//! Packages that a lock file takes from the project or the machine: archives and folders, whose code an install runs.

use std::collections::BTreeSet;

/// Keys with a path, as TOML has them, and as YAML and JSON do.
const EQUAL: [&str; 4] = ["directory", "editable", "path", "url"];
const COLON: [&str; 5] = ["directory", "file\"", "path", "remote", "url"];
/// How a path begins that stands where a version does.
const SCHEMES: [&str; 3] = ["file:", "link:", "portal:"];
/// How an archive of a package ends.
const ARCHIVES: [&str; 8] = [".egg", ".tar", ".tar.bz2", ".tar.gz", ".tar.xz", ".tgz", ".whl", ".zip"];

/// Adds the paths in a line, in lower case, of a lock file.
pub(super) fn paths(line: &str, found: &mut BTreeSet<String>) {
    for (keys, sign) in [(&EQUAL[..], '='), (&COLON[..], ':')] {
        let values = keys.iter().flat_map(|key| after(line, key));
        found.extend(values.filter_map(|rest| path(rest.trim_start().strip_prefix(sign)?.trim_start())));
    }
    for scheme in SCHEMES {
        let after = after(line, scheme).filter(|rest| !rest.starts_with(char::is_whitespace));
        found.extend(after.filter_map(path));
    }
}

/// Adds what a line, in lower case, of a list of requirements names without an address.
pub(super) fn requirement(line: &str, found: &mut BTreeSet<String>) {
    let words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
    let words: Vec<&str> = words.filter(|word| !word.contains("://")).collect();
    let is_path = |word: &&str| {
        word.contains('/') || word.starts_with('.') || ARCHIVES.iter().any(|ending| word.ends_with(ending))
    };
    if words.iter().any(is_path) {
        found.insert(words.join(" "));
    }
}

/// What comes after each `key` that is a word of its own.
fn after<'a>(line: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(key).filter_map(move |(at, _)| {
        let before = line.get(..at)?.chars().next_back();
        let rest = line.get(at + key.len()..)?;
        let alone = !before.is_some_and(|c| c.is_alphanumeric() || "_-".contains(c));
        alone.then(|| {
            rest.strip_prefix(['"', '\''])
                .filter(|rest| rest.trim_start().starts_with([':', '=']))
                .unwrap_or(rest)
        })
    })
}

/// The path that begins here; none where it is an address, no path, or the project itself.
fn path(text: &str) -> Option<String> {
    let text = text.trim_start_matches(['"', '\'']);
    let end = text.find(|c: char| c.is_whitespace() || "\"'`,;(){}[]".contains(c)).unwrap_or(text.len());
    let path = text.get(..end)?;
    let none = path.contains("://") || path.starts_with("//") || path.starts_with("git@");
    (!none && !matches!(path, "" | "." | "./" | "true" | "false")).then(|| path.to_owned())
}
