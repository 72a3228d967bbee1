//! What of Git's settings names something that Git, or who uses it, runs or reads.

use std::path::{Path, PathBuf};

use super::config::settings;
use super::read;

/// Files that include each other are read so deep (`MAX_INCLUDE_DEPTH`, `config.c` of Git).
const DEEPEST: usize = 10;

/// Keys whose value is a command or a program, whatever their section.
const COMMANDS: [&str; 29] = [
    "askpass",
    "cccmd",
    "clean",
    "cmd",
    "command",
    "defaultkeycommand",
    "difffilter",
    "driver",
    "editor",
    "external",
    "fsmonitor",
    "gitproxy",
    "headercmd",
    "helper",
    "packobjectshook",
    "pager",
    "path",
    "process",
    "program",
    "receivepack",
    "sendmailcmd",
    "smtpserver",
    "smudge",
    "sshcommand",
    "textconv",
    "tocmd",
    "update",
    "uploadpack",
    "vcs",
];

/// An absolute path that a setting names; nothing needs to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// With everything in it.
    Whole(PathBuf),
    /// A word of a command: only a file is meant.
    Word(PathBuf),
}

/// `core.worktree` of a configuration.
pub(super) fn worktree(file: &Path) -> Option<String> {
    let found = settings(&read(file)?);
    found.into_iter().find(|s| s.section == "core" && s.key == "worktree").map(|s| s.value)
}

/// Adds what the settings in `file` name, those in files that it includes, too. Commands are run in `worktree`.
pub(super) fn add_named(file: &Path, worktree: &Path, found: &mut Vec<Named>) {
    read_to(file, worktree, 0, found);
}

fn read_to(file: &Path, worktree: &Path, depth: usize, found: &mut Vec<Named>) {
    let Some(content) = read(file) else { return };
    for setting in settings(&content) {
        let (section, key, value) = (setting.section.as_str(), setting.key.as_str(), setting.value.as_str());
        match (section, key) {
            ("include" | "includeif", "path") => {
                let included = file.parent().unwrap_or(file).join(at_home(value));
                found.push(Named::Whole(included.clone()));
                if depth < DEEPEST {
                    read_to(&included, worktree, depth + 1, found);
                }
            }
            ("core", "hookspath" | "attributesfile") | ("init", "templatedir") => {
                found.push(Named::Whole(worktree.join(at_home(value))));
            }
            _ if section == "pager" || COMMANDS.contains(&key) || value.starts_with('!') => {
                found.extend(words(value, worktree).into_iter().map(Named::Word));
            }
            _ => {}
        }
    }
}

fn at_home(path: &str) -> PathBuf {
    let home = std::env::var_os("HOME");
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

/// The words of a command that may be files. A shell would make more of it; too many are named rather than too few.
fn words(command: &str, worktree: &Path) -> Vec<PathBuf> {
    let parts = command.split(|c: char| c.is_whitespace() || "\"'`;|&()<>=${},!".contains(c));
    let mut found = Vec::new();
    for word in parts.filter(|word| !word.is_empty() && !word.starts_with(['-', '%'])) {
        found.push(worktree.join(at_home(word)));
        // `$(git rev-parse --show-toplevel)/tools/x`.
        if let Some(rest) = word.strip_prefix('/') {
            found.push(worktree.join(rest.trim_start_matches('/')));
        }
    }
    found
}
