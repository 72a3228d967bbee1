//! Paths whose change acts on the user's machine or on a server without anybody running it by hand:
//! each is asked about separately.

use serde::{Deserialize, Serialize};

use super::super::diff::Change;
use super::super::manifest::Kind;
use super::super::path::RelPath;

/// Why a path needs the user's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sensitive {
    /// `wflo.toml`: limits, budgets and mounts of later runs.
    Settings,
    /// A workflow definition.
    Definition,
    /// Git's own files, hooks among them, and files that steer it.
    Git,
    /// A shell script or a file that a shell reads by itself.
    Shell,
    /// A file that a build server or a build tool runs by itself.
    Ci,
    /// A file that an editor runs by itself.
    Editor,
    /// A link that leads out of the project.
    LinkOutside,
}

const CI_FOLDERS: [&str; 9] = [
    ".github",
    ".gitlab",
    ".circleci",
    ".buildkite",
    ".woodpecker",
    ".ci",
    ".husky",
    ".teamcity",
    ".forgejo",
];
const CI_FILES: [&str; 15] = [
    ".gitlab-ci.yml",
    ".travis.yml",
    ".drone.yml",
    ".woodpecker.yml",
    "appveyor.yml",
    "azure-pipelines.yml",
    "bitbucket-pipelines.yml",
    "cloudbuild.yaml",
    "jenkinsfile",
    ".pre-commit-config.yaml",
    "lefthook.yml",
    "makefile",
    "gnumakefile",
    "justfile",
    "taskfile.yml",
];
const SHELL_ENDINGS: [&str; 9] = [".sh", ".bash", ".zsh", ".fish", ".ksh", ".ps1", ".psm1", ".bat", ".cmd"];
const SHELL_FILES: [&str; 12] = [
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".bash_aliases",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".zlogin",
    ".login",
    ".tool-versions",
];
const EDITOR_FOLDERS: [&str; 5] = [".vscode", ".idea", ".devcontainer", ".zed", ".cursor"];

impl Sensitive {
    /// Why `change` needs the user's word; `None` when it does not.
    #[must_use]
    pub fn of(change: &Change, definitions: &[RelPath]) -> Option<Sensitive> {
        let path = &change.path;
        let parts: Vec<Vec<u8>> = path.components().map(<[u8]>::to_ascii_lowercase).collect();
        let name = parts.last()?;
        let within =
            |folders: &[&str]| parts.iter().any(|part| folders.iter().any(|known| part == known.as_bytes()));
        let named = |files: &[&str]| files.iter().any(|known| name == known.as_bytes());
        if name == b"wflo.toml" {
            return Some(Sensitive::Settings);
        }
        if definitions.contains(path) {
            return Some(Sensitive::Definition);
        }
        let git = parts.iter().any(|part| part.ends_with(b".git"));
        if git || named(&[".gitattributes", ".gitmodules", ".gitconfig", ".mailmap"]) {
            return Some(Sensitive::Git);
        }
        if within(&CI_FOLDERS) || named(&CI_FILES) {
            return Some(Sensitive::Ci);
        }
        if within(&EDITOR_FOLDERS) {
            return Some(Sensitive::Editor);
        }
        if named(&SHELL_FILES) || SHELL_ENDINGS.iter().any(|ending| name.ends_with(ending.as_bytes())) {
            return Some(Sensitive::Shell);
        }
        match change.after.as_ref().map(|entry| &entry.kind) {
            Some(Kind::Symlink { target }) if leads_outside(path, &target.0) => Some(Sensitive::LinkOutside),
            _ => None,
        }
    }
}

/// Whether a link at `path` names a place outside of the project, by its text. `..` after a name
/// that may itself be a link cannot be judged by text, so it counts as outside.
fn leads_outside(path: &RelPath, target: &[u8]) -> bool {
    if target.starts_with(b"/") || target.is_empty() {
        return true;
    }
    let mut depth = path.depth().saturating_sub(1);
    let mut descended = false;
    for part in target.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 || descended => return true,
            b".." => depth -= 1,
            _ => {
                descended = true;
                depth += 1;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::super::diff::ChangeKind;
    use super::super::super::manifest::{Digest, Entry};
    use super::*;

    fn why(path: &str, after: Entry) -> Option<Sensitive> {
        let change = Change {
            path: path.parse().unwrap(),
            kind: ChangeKind::Added,
            before: None,
            after: Some(after),
            binary: false,
            before_from: None,
            after_from: None,
        };
        Sensitive::of(&change, &["flows/main.py".parse().unwrap()])
    }

    #[test]
    fn files_that_act_by_themselves_are_asked_about() {
        let file = || Entry::file(0o644, 0, Digest::of(b""));
        for (path, expected) in [
            ("wflo.toml", Some(Sensitive::Settings)),
            ("flows/main.py", Some(Sensitive::Definition)),
            (".git/hooks/pre-commit", Some(Sensitive::Git)),
            ("sub/.git/index", Some(Sensitive::Git)),
            (".github/workflows/x.yml", Some(Sensitive::Ci)),
            ("Makefile", Some(Sensitive::Ci)),
            ("bin/run.SH", Some(Sensitive::Shell)),
            (".vscode/tasks.json", Some(Sensitive::Editor)),
            ("src/main.py", None),
            ("report.md", None),
        ] {
            assert_eq!(why(path, file()), expected, "{path}");
        }
    }

    #[test]
    fn links_are_judged_by_where_they_lead() {
        let link = |target: &str| Entry::symlink(target.as_bytes().to_vec());
        for (path, target, outside) in [
            ("a", "b/c", false),
            ("d/a", "../b", false),
            ("d/a", "../../b", true),
            ("a", "/etc/passwd", true),
            ("a", "d/../../x", true),
            ("a", "..", true),
        ] {
            assert_eq!(why(path, link(target)).is_some(), outside, "{path} -> {target}");
        }
    }
}
