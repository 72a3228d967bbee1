//! Git's own files: which hold credentials, and what stands in their place.
//!
//! A configuration is rewritten from a list of what may stay: settings that can hold a token
//! (`credential.*`, `http.*`, `url.*`, includes, commands) are not on it, so a setting that Git
//! gains tomorrow is left out, not leaked. Addresses lose their user part. Reflogs and
//! `FETCH_HEAD` quote the addresses that were fetched from and lose it too.

use std::collections::HashSet;

use super::{Reason, Verdict};
use crate::workspace::folding::{folded, folded_path};
use crate::workspace::path::RelPath;
use crate::workspace::repository::config::{self, Item};

/// Sections that stay, apart from the keys in [`DROPPED_KEYS`].
const KEPT_SECTIONS: [&str; 33] = [
    "add",
    "advice",
    "am",
    "apply",
    "branch",
    "checkout",
    "clean",
    "color",
    "column",
    "commit",
    "core",
    "diff",
    "extensions",
    "feature",
    "fetch",
    "format",
    "gc",
    "i18n",
    "index",
    "init",
    "lfs",
    "log",
    "merge",
    "pack",
    "pull",
    "push",
    "rebase",
    "receive",
    "remote",
    "rerere",
    "status",
    "submodule",
    "user",
];

/// Keys of kept sections that run commands on the host or lead outside of the workspace.
const DROPPED_KEYS: [&str; 17] = [
    "askpass",
    "attributesfile",
    "editor",
    "excludesfile",
    "fsmonitor",
    "gitproxy",
    "hookspath",
    "pager",
    "proxy",
    "proxyauthmethod",
    "receivepack",
    "sshcommand",
    "signingkey",
    "textconv",
    "uploadpack",
    "vcs",
    "external",
];

/// Which names that make a folder one of Git's are in it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marks {
    head: bool,
    objects: bool,
    refs: bool,
    /// The objects and refs are in the folder that this file names.
    common: bool,
}

impl Marks {
    /// Notes a name, as other file systems read it.
    pub(crate) fn note(&mut self, name: &[u8]) {
        // Most names are none of these, however they are read.
        let begins = name.first().is_some_and(|first| b"horc".contains(&first.to_ascii_lowercase()));
        if name.is_ascii() && !begins {
            return;
        }
        match folded(name).as_slice() {
            b"head" => self.head = true,
            b"objects" => self.objects = true,
            b"refs" => self.refs = true,
            b"commondir" => self.common = true,
            _ => {}
        }
    }

    /// What is there together.
    pub(crate) fn join(&mut self, other: Marks) {
        self.head |= other.head;
        self.objects |= other.objects;
        self.refs |= other.refs;
        self.common |= other.common;
    }

    /// Whether Git takes a folder with these for one of its own (`is_git_directory`, `setup.c` of Git). What `HEAD`
    /// says is not asked: who writes it may write it later.
    pub(crate) fn are_gits(self) -> bool {
        self.head && ((self.objects && self.refs) || self.common)
    }
}

impl<'a> FromIterator<&'a [u8]> for Marks {
    fn from_iter<T: IntoIterator<Item = &'a [u8]>>(names: T) -> Marks {
        let mut marks = Marks::default();
        names.into_iter().for_each(|name| marks.note(name));
        marks
    }
}

/// Names at the top of a folder of Git's that are its own, in lower case.
const OWN: [&str; 37] = [
    ".git-credentials",
    "annex",
    "branches",
    "commondir",
    "common",
    "config",
    "config.lock",
    "config.worktree",
    "credential-cache",
    "credentials",
    "description",
    "filter-repo",
    "fsmonitor--daemon",
    "git-daemon-export-ok",
    "gitdir",
    "gitweb",
    "head",
    "hooks",
    "index",
    "index.lock",
    "info",
    "lfs",
    "locked",
    "logs",
    "modules",
    "objects",
    "packed-refs",
    "rebase-apply",
    "rebase-merge",
    "refs",
    "reftable",
    "remotes",
    "rr-cache",
    "sequencer",
    "shallow",
    "svn",
    "worktrees",
];

/// Whether a name at the top of a folder of Git's is its own: a work tree may lie beside them.
fn is_own(name: &[u8]) -> bool {
    OWN.iter().any(|own| name == own.as_bytes())
        || name.starts_with(b"config.")
        || name.ends_with(b"_head")
        || name.ends_with(b"_msg")
}

/// Folders of Git's that are not called `.git` or `*.git`, folded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Folders(HashSet<RelPath>);

impl Folders {
    /// Adds a folder; the name of those in `.git` says it already.
    pub(crate) fn add(&mut self, folder: &RelPath) {
        if !folder.components().any(is_git_folder) {
            self.0.insert(folded_path(folder));
        }
    }

    pub(crate) fn extend(&mut self, other: &Folders) {
        self.0.extend(other.0.iter().cloned());
    }

    /// The parts of a path below the outermost of these in which it is Git's own, folded.
    pub(crate) fn inside(&self, path: &RelPath) -> Option<Vec<Vec<u8>>> {
        if self.0.is_empty() {
            return None;
        }
        let parts: Vec<Vec<u8>> = path.components().map(folded).collect();
        let mut at = RelPath::root();
        for (depth, part) in parts.iter().enumerate() {
            if self.0.contains(&at) && is_own(part) {
                return parts.get(depth..).map(<[_]>::to_vec);
            }
            at = at.join(part);
        }
        None
    }
}

/// What to do with a path that may be Git's; `folders` are those that their names do not tell.
pub(super) fn verdict(path: &RelPath, is_dir: bool, folders: &Folders) -> Verdict {
    let named = path.components().position(is_git_folder);
    let named =
        named.map(|start| path.components().skip(start + 1).map(<[u8]>::to_ascii_lowercase).collect());
    match named.or_else(|| folders.inside(path)) {
        Some(inside) if !is_dir => verdict_inside(&inside),
        _ => Verdict::Visible,
    }
}

fn verdict_inside(inside: &[Vec<u8>]) -> Verdict {
    let Some(name) = inside.last() else { return Verdict::Visible };
    // A branch may be called `config`: names below refs and objects mean nothing.
    if inside.iter().any(|part| part == b"refs" || part == b"objects") && !is_log(inside) {
        return Verdict::Visible;
    }
    let in_annex = inside.windows(2).any(|pair| matches!(pair, [a, b] if a == b"annex" && b == b"creds"));
    if !is_log(inside)
        && (in_annex || matches!(name.as_slice(), b"credentials" | b"credential-cache" | b".git-credentials"))
    {
        return Verdict::Hidden(Reason::GitCredentials);
    }
    let rewritten = name.starts_with(b"config.")
        || matches!(name.as_slice(), b"config" | b"fetch_head" | b"merge_msg" | b"squash_msg")
        || is_log(inside);
    if rewritten { Verdict::Replaced } else { Verdict::Visible }
}

fn is_git_folder(part: &[u8]) -> bool {
    part.len() >= 4 && part.get(part.len() - 4..).is_some_and(|end| end.eq_ignore_ascii_case(b".git"))
}

fn is_log(inside: &[Vec<u8>]) -> bool {
    inside.iter().rev().skip(1).any(|part| part == b"logs")
}

/// The content that stands in for a replaced file.
pub(crate) fn without_credentials(path: &RelPath, content: &[u8]) -> Vec<u8> {
    let name = path.name().to_ascii_lowercase();
    let in_logs = path.components().any(|part| part.eq_ignore_ascii_case(b"logs"));
    if !in_logs && name.starts_with(b"config") { rewrite_config(content) } else { scrub_urls(content) }
}

fn rewrite_config(content: &[u8]) -> Vec<u8> {
    let text = config::text(content);
    let mut out = String::from("# Written by wflo: settings that can hold credentials are left out.\n");
    let mut keep = false;
    for item in config::items(&text) {
        match item {
            Item::Section(header) => {
                let name = config::first_name(header);
                keep = KEPT_SECTIONS.contains(&name.as_str()) && url_with_user(header.as_bytes()).is_none();
                if keep {
                    out.push_str(&format!("[{header}]\n"));
                }
            }
            Item::Setting(key, value) if keep && !is_dropped(&key.to_ascii_lowercase()) => {
                out.push_str(&format!("\t{key}"));
                if let Some(value) = value {
                    let clean = scrub_urls(value.as_bytes());
                    out.push_str(&format!(" = {}", config::written(&String::from_utf8_lossy(&clean))));
                }
                out.push('\n');
            }
            Item::Setting(..) => {}
        }
    }
    out.into_bytes()
}

fn is_dropped(key: &str) -> bool {
    let secret = ["password", "token", "secret", "extraheader", "cmd", "command", "nonceseed"];
    DROPPED_KEYS.contains(&key) || secret.iter().any(|word| key.contains(word))
}

/// The first `scheme://user@` in a text: where the user part starts, and where it ends (at the `@`).
pub(super) fn url_with_user(text: &[u8]) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(found) = text.get(from..)?.windows(3).position(|window| window == b"://") {
        let start = from + found + 3;
        let rest = text.get(start..)?;
        // A quote ends the address too; a password may hold an `@`, so the last one counts.
        let authority = rest.iter().position(|b| b"/?# \t\r\n\"'<>".contains(b)).unwrap_or(rest.len());
        if let Some(at) = rest.get(..authority)?.iter().rposition(|&b| b == b'@') {
            return Some((start, start + at));
        }
        from = start;
    }
    None
}

/// Takes the user part and the query out of every address, but keeps the user name of `ssh`.
fn scrub_urls(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some((start, end)) = url_with_user(rest) {
        let (before, user) = (rest.get(..start).unwrap_or(&[]), rest.get(start..end).unwrap_or(&[]));
        out.extend_from_slice(before);
        rest = rest.get(end + 1..).unwrap_or(&[]);
        if before.ends_with(b"ssh://") {
            out.extend(user.iter().take_while(|&&b| b != b':'));
            out.push(b'@');
        }
    }
    out.extend_from_slice(rest);
    drop_queries(&out)
}

fn drop_queries(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    for line in content.split_inclusive(|&b| b == b'\n') {
        let query = line
            .windows(3)
            .position(|window| window == b"://")
            .and_then(|url| line.get(url..)?.iter().position(|&b| b == b'?').map(|at| url + at));
        let Some(query) = query else {
            out.extend_from_slice(line);
            continue;
        };
        let (kept, tail) = line.split_at(query);
        let end = tail.iter().position(|b| b" \t\r\n\"'".contains(b)).unwrap_or(tail.len());
        out.extend_from_slice(kept);
        out.extend_from_slice(tail.get(end..).unwrap_or(&[]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(content: &str) -> String {
        let path = ".git/config".parse().unwrap();
        String::from_utf8(without_credentials(&path, content.as_bytes())).unwrap()
    }

    #[test]
    fn a_configuration_keeps_what_git_needs_and_loses_every_credential() {
        let config = rewritten(concat!(
            "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tsshCommand = ssh -i SECRET\n",
            "[remote \"origin\"]\n\turl = https://me:SECRET@host.example/x.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n",
            "[remote \"two\"] url = https://SECRET@host.example/a?private_token=SECRET\n",
            "[remote \"three\"]\n\turl = \\\nhttps://x:SEC\\\nRET@host/y\n",
            "[remote \"ssh\"]\n\turl = ssh://git:SECRET@host/x\n\tpushurl = git@host:x.git\n",
            "[credential \"https://SECRET@host\"]\n\thelper = store\n[http \"https://host\"]\n\textraHeader = Bearer SECRET\n",
            "[receive]\n\tcertNonceSeed = SECRET\n[remote \"c\"]\n\turl = https://h/x ; see \\\n[github]\n\tuser = SECRET\n",
            "[url \"https://SECRET@host/\"]\n\tinsteadOf = gh:\n[include]\n\tpath = SECRET\n",
            "[branch \"main\"]\n\tremote = origin\n[lfs \"https://u:SECRET@h\"]\n\taccess = basic\n[unheard \"of\"]\n\tx = SECRET\n",
        ));
        assert!(!config.contains("SEC"), "{config}");
        for kept in [
            "repositoryformatversion = 0",
            "url = https://host.example/x.git",
            "fetch = +refs/heads/*:refs/remotes/origin/*",
            "url = https://host/y",
            "url = ssh://git@host/x",
            "pushurl = git@host:x.git",
            "[branch \"main\"]",
            "url = https://host.example/a\n",
        ] {
            assert!(config.contains(kept), "{kept}\n{config}");
        }
    }

    #[test]
    fn configurations_of_modules_and_worktrees_are_replaced_and_branches_are_not() {
        let verdict = |text: &str| super::verdict(&text.parse().unwrap(), false, &Folders::default());
        for path in
            [".git/config", ".git/modules/a/b/config", ".git/worktrees/w/config.worktree", "sub/.git/config"]
        {
            assert_eq!(verdict(path), Verdict::Replaced, "{path}");
        }
        for path in [".git/logs/HEAD", ".git/FETCH_HEAD", ".git/logs/refs/heads/config", "bare.git/config"] {
            assert_eq!(verdict(path), Verdict::Replaced, "{path}");
        }
        for path in
            [".git/refs/heads/config", ".git/HEAD", "config", "src/config", ".github/config", ".git/index"]
        {
            assert_eq!(verdict(path), Verdict::Visible, "{path}");
        }
        assert_eq!(verdict(".git/credentials"), Verdict::Hidden(Reason::GitCredentials));
    }

    #[test]
    fn a_folder_is_gits_by_what_is_in_it_whatever_it_is_called() {
        for (names, is) in [
            (&["HEAD", "objects", "refs", "x"][..], true),
            (&["head.", "Objects", "REFS:x"], true),
            (&["HEAD", "commondir"], true),
            (&["HEAD", "objects"], false),
            (&["objects", "refs", "config"], false),
        ] {
            assert_eq!(
                names.iter().map(|name| name.as_bytes()).collect::<Marks>().are_gits(),
                is,
                "{names:?}"
            );
        }
        let mut folders = Folders::default();
        folders.add(&"a/.bare".parse().unwrap());
        let verdict = |text: &str| super::verdict(&text.parse().unwrap(), false, &folders);
        for path in
            ["a/.bare/config", "A/.BARE/Config", "a/.bare/worktrees/w/config.worktree", "a/.bare/logs/HEAD"]
        {
            assert_eq!(verdict(path), Verdict::Replaced, "{path}");
        }
        for path in ["a/.bare/main/config", "a/.bare/main/logs/x", "a/config", "a/.bare/refs/heads/config"] {
            assert_eq!(verdict(path), Verdict::Visible, "{path}");
        }
        for path in ["a/.bare/annex/creds/x", ".git/annex/creds/x", ".git/modules/m/annex/creds/x"] {
            assert_eq!(verdict(path), Verdict::Hidden(Reason::GitCredentials), "{path}");
        }
    }

    #[test]
    fn a_reflog_loses_the_user_of_its_address() {
        let path = ".git/logs/HEAD".parse().unwrap();
        let line = b"0 1 A <a@b.example> 1 +0\tclone: from https://tok@en@host/x\n";
        assert_eq!(
            without_credentials(&path, line),
            b"0 1 A <a@b.example> 1 +0\tclone: from https://host/x\n"
        );
    }
}
