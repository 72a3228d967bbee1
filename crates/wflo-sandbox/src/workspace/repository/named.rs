//! What of Git's settings names something that Git, or who uses it, runs or reads.

use std::path::PathBuf;

use super::command;

/// Keys whose value is a command or a program, whatever their section, with those that end in [`ENDINGS`].
const COMMANDS: [&str; 19] = [
    "args",
    "askpass",
    "clean",
    "difffilter",
    "driver",
    "external",
    "fsmonitor",
    "gitproxy",
    "httpd",
    "path",
    "process",
    "receivepack",
    "smtpserver",
    "smudge",
    "textconv",
    "tunnel",
    "update",
    "uploadpack",
    "vcs",
];
const ENDINGS: [&str; 7] = ["cmd", "command", "editor", "helper", "hook", "pager", "program"];

/// So many paths are named by one file, and by all together.
pub(super) const MOST_NAMED: usize = 1_000_000;

/// How much of what stands at a path is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// With everything in it.
    Whole,
    /// A file and nothing else.
    File,
    /// What an interpreter runs by this name: a file, a package, or a file of that name with an ending.
    Script,
    /// The hooks in this folder.
    Hooks,
}

/// A path that a setting names; nothing needs to be there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Named {
    pub(crate) path: PathBuf,
    pub(crate) part: Part,
}

/// What a setting names; relative paths are of where its commands are run.
pub(super) fn of_setting(section: &str, key: &str, value: &str) -> Vec<Named> {
    let one = |part| at_home(value).map(|path| Named { path, part }).into_iter().collect();
    let is_command = || COMMANDS.contains(&key) || ENDINGS.iter().any(|ending| key.ends_with(ending));
    let run = value.strip_prefix('!').or_else(|| value.strip_prefix("ext::"));
    match (section, key, run) {
        ("core", "hookspath", _) => one(Part::Hooks),
        ("core", "attributesfile", _) | ("init", "templatedir", _) => one(Part::Whole),
        (_, _, Some(command)) => command::named(command),
        ("alias", _, None) => command::named_by_git(value),
        _ if section == "pager" || is_command() => command::named(value),
        _ => Vec::new(),
    }
}

/// A path with the home that it begins with; none where that is not known.
pub(super) fn at_home(path: &str) -> Option<PathBuf> {
    let Some(rest) = path.strip_prefix('~') else { return Some(PathBuf::from(path)) };
    let (user, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let home = if user.is_empty() { std::env::var_os("HOME").map(PathBuf::from) } else { home_of(user) };
    home.map(|home| if rest.is_empty() { home } else { home.join(rest.trim_start_matches('/')) })
}

/// The home of another user (passwd(5)).
fn home_of(user: &str) -> Option<PathBuf> {
    let all = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = all.lines().find(|line| line.split(':').next() == Some(user))?;
    line.split(':').nth(5).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_run_something_are_known_by_their_keys() {
        for (section, key) in [
            ("core", "alternaterefscommand"),
            ("gc", "recentobjectshook"),
            ("imap", "tunnel"),
            ("instaweb", "httpd"),
            ("lfs", "args"),
            ("annex", "youtube-dl-command"),
            ("gpg", "program"),
            ("pager", "log"),
            ("sequence", "editor"),
            ("credential", "helper"),
        ] {
            assert!(!of_setting(section, key, "tools/x").is_empty(), "{section} {key}");
        }
        for (section, key, value) in
            [("branch", "merge", "refs/heads/x"), ("remote", "url", "a/b"), ("submodule", "update", "merge")]
        {
            assert_eq!(of_setting(section, key, value), [], "{section} {key}");
        }
        assert!(!of_setting("remote", "url", "ext::tools/x %S").is_empty());
        assert_eq!(at_home("~root/x"), Some(PathBuf::from("/root/x")));
        assert_eq!(at_home("~nobody-of-this-name/x"), None);
    }
}
