//! What the guarded names of a project lead to: by links, and by Git's settings.
//!
//! `Makefile -> conf/main.make` makes a build tool's file of `conf/main.make`, and `core.hooksPath` makes programs of
//! what is in a plain folder. All of it is found once, from names, links and Git's files, so that each change is then a
//! look into a table.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::super::super::folding::folded_path;
use super::super::super::follow::follow;
use super::super::super::hidden::git::Folders;
use super::super::super::layer::MergedTree;
use super::super::super::manifest::Kind;
use super::super::super::path::RelPath;
use super::super::super::repository::{Ground, Named, Outer, Part, is_filled, link_there};
use super::{Sensitive, by_name};

/// What Git looks for in a folder of hooks (githooks(5)).
const HOOKS: [&str; 28] = [
    "applypatch-msg",
    "commit-msg",
    "fsmonitor-watchman",
    "p4-changelist",
    "p4-post-changelist",
    "p4-pre-submit",
    "p4-prepare-changelist",
    "post-applypatch",
    "post-checkout",
    "post-commit",
    "post-index-change",
    "post-merge",
    "post-receive",
    "post-rewrite",
    "post-update",
    "pre-applypatch",
    "pre-auto-gc",
    "pre-commit",
    "pre-merge-commit",
    "pre-push",
    "pre-rebase",
    "pre-receive",
    "prepare-commit-msg",
    "proc-receive",
    "push-to-checkout",
    "reference-transaction",
    "sendemail-validate",
    "update",
];
/// What interpreters run of a folder that they are given.
const MAIN: [&str; 4] = ["__main__.py", "index.cjs", "index.js", "index.mjs"];

/// What is guarded in one project.
#[derive(Debug, Default)]
pub(in crate::workspace) struct Guards {
    definitions: Vec<RelPath>,
    /// Git's folders that are not called so.
    git: Folders,
    /// Each with everything in it; the paths here are folded.
    leads: HashMap<RelPath, Sensitive>,
    /// Words of commands: files.
    words: HashMap<RelPath, Sensitive>,
    /// Names that a file has but for its ending.
    stems: HashMap<RelPath, Sensitive>,
    /// Not all that Git's settings name is known: every file may be named.
    unread: bool,
    /// Where links that a run left lead to, by their paths as they are: what is passed on the way, and the end.
    passed: HashMap<RelPath, Vec<RelPath>>,
    /// The folders that these lie in: a link in the place of one leads elsewhere.
    above: HashMap<RelPath, Sensitive>,
}

impl Guards {
    /// Those of the project on this `ground`, as it is, and as it will be with `after` in its folder `at`. `git` are the
    /// folders of Git's that are not called so. What is not there guards nothing.
    pub(in crate::workspace) fn new(
        ground: &Ground,
        git: Folders,
        at: &RelPath,
        after: &MergedTree,
        definitions: &[RelPath],
    ) -> Guards {
        let project = ground.project();
        let definitions = definitions.iter().map(folded_path).collect();
        let mut guards = Guards { definitions, git, ..Guards::default() };
        let target = |path: &RelPath| match &after.get(&within(at, path)?)?.entry.kind {
            Kind::Symlink { target } => Some(target.0.clone()),
            _ => None,
        };
        // Many names have folders in common.
        let read: RefCell<HashMap<PathBuf, Option<Vec<u8>>>> = RefCell::default();
        let link_now = |found: &Path| {
            if let Some(known) = read.borrow().get(found) {
                return known.clone();
            }
            let target = link_there(found);
            read.borrow_mut().insert(found.to_owned(), target.clone());
            target
        };
        // As it will be; what the run did not see is as it is.
        let link_then = |found: &Path| {
            let path = found
                .strip_prefix(project)
                .ok()
                .and_then(|inside| RelPath::from_bytes(inside.as_os_str().as_encoded_bytes()).ok());
            let known =
                path.as_ref().and_then(|path| within(at, path)).is_some_and(|path| after.contains_key(&path));
            match (path, known) {
                (Some(path), true) => target(&path),
                _ => link_now(found),
            }
        };
        let lead = |guards: &mut Guards, from: &Path, part: Part, why: Sensitive| {
            for passed in [follow(project, from, link_now), follow(project, from, link_then)] {
                let Some((end, links)) = passed.split_last() else { continue };
                links.iter().for_each(|link| guards.add(link, Part::File, why));
                guards.add(end, part, why);
            }
        };
        let then = after.iter().filter(|(_, merged)| matches!(merged.entry.kind, Kind::Symlink { .. }));
        let then: Vec<RelPath> = then.map(|(path, _)| at.below_with(path)).collect();
        for link in &then {
            let passed = follow(project, &project.join(link.as_path()), link_then);
            guards.passed.insert(link.clone(), passed);
        }
        let names = ground.named(&Outer::of_user());
        guards.unread = names.is_cut;
        for Named { path, part } in &names.found {
            lead(&mut guards, path, *part, Sensitive::Git);
        }
        let links = ground.links.iter().cloned().chain(then).filter(|link| !is_filled(link));
        let held = |link: RelPath| (guards.holds(&folded_path(&link)), link);
        let links: Vec<(Option<Sensitive>, RelPath)> = links.map(held).collect();
        for (held, link) in links {
            // A link may stand for a folder.
            let by_name = by_name(&link, false).or_else(|| by_name(&link.join(b"x"), false));
            if let Some(why) = by_name.or(held) {
                lead(&mut guards, &project.join(link.as_path()), Part::Whole, why);
            }
        }
        guards
    }

    fn add(&mut self, path: &RelPath, part: Part, why: Sensitive) {
        // If it were the project itself, every file would be asked about, and nobody would read the questions.
        if path.as_bytes().is_empty() {
            let names: &[&str] = match part {
                Part::Hooks => &HOOKS,
                Part::Script => &MAIN,
                Part::Whole | Part::File => &[],
            };
            let paths = names.iter().map(|name| path.join(name.as_bytes()));
            self.words.extend(paths.map(|path| (path, why)));
            return;
        }
        let path = folded_path(path);
        for folder in path.folders() {
            self.above.entry(folder).or_insert(why);
        }
        if part == Part::Script {
            self.stems.entry(path.clone()).or_insert(why);
        }
        if part == Part::File { &mut self.words } else { &mut self.leads }.entry(path).or_insert(why);
    }

    /// What a link that a run left leads to.
    pub(super) fn passed(&self, link: &RelPath) -> &[RelPath] {
        self.passed.get(link).map_or(&[], Vec::as_slice)
    }

    /// Whether a path defines a workflow, or lies in such a file's place.
    pub(super) fn defines(&self, path: &RelPath) -> bool {
        let folded = folded_path(path);
        self.definitions.iter().any(|known| folded.is_within(known))
    }

    /// Why what is brought to this path acts by itself though its name does not say so; `kind` is none where something
    /// goes.
    pub(super) fn leads_to(&self, path: &RelPath, kind: Option<&Kind>) -> Option<Sensitive> {
        if self.git.inside(path).is_some() {
            return Some(Sensitive::Git);
        }
        let is = |wanted: fn(&Kind) -> bool| kind.is_some_and(wanted);
        let is_folder = is(|kind| matches!(kind, Kind::Dir { .. }));
        if self.above.is_empty() && self.leads.is_empty() && self.words.is_empty() && !self.unread {
            return None;
        }
        let path = folded_path(path);
        let swapped =
            || self.above.get(&path).filter(|_| is(|kind| matches!(kind, Kind::Symlink { .. }))).copied();
        let unread = || (self.unread && !is_folder).then_some(Sensitive::Git);
        self.named(&path, is_folder).or_else(swapped).or_else(unread)
    }

    /// Why a folded path is guarded by what leads to it.
    fn named(&self, path: &RelPath, is_folder: bool) -> Option<Sensitive> {
        let word = || self.words.get(path).filter(|_| !is_folder).copied();
        self.leads.get(path).copied().or_else(word).or_else(|| self.holds(path))
    }

    /// Why a folded path is guarded by the folder that it is in, or by its name without its ending.
    fn holds(&self, path: &RelPath) -> Option<Sensitive> {
        let with_ending = || {
            let bytes = path.as_bytes();
            let stem = bytes.get(..bytes.iter().rposition(|&byte| byte == b'.')?)?;
            self.stems.get(&RelPath::from_bytes(stem).ok()?).copied()
        };
        path.folders().find_map(|folder| self.leads.get(&folder).copied()).or_else(with_ending)
    }
}

/// A path of the project as one of its folder `at`.
fn within(at: &RelPath, path: &RelPath) -> Option<RelPath> {
    if at.as_bytes().is_empty() {
        return Some(path.clone());
    }
    let inside = path.as_bytes().strip_prefix(at.as_bytes())?.strip_prefix(b"/")?;
    RelPath::from_bytes(inside).ok()
}
