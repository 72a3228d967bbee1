//! What the guarded names of a project lead to: by links, and by Git's settings.
//!
//! `Makefile -> conf/main.make` makes a build tool's file of `conf/main.make`, and `core.hooksPath` makes programs of
//! what is in a plain folder. All of it is found once, from names, links and Git's files, so that each change is then a
//! look into a table.

use std::collections::HashMap;
use std::path::Path;

use super::super::super::folding::folded_path;
use super::super::super::follow::follow;
use super::super::super::hidden::git::Folders;
use super::super::super::layer::MergedTree;
use super::super::super::manifest::Kind;
use super::super::super::path::RelPath;
use super::super::super::repository::{Ground, Named, is_filled, link_there, outer_settings};
use super::{Sensitive, by_name};

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
    /// Where links that a run left lead to, by their paths as they are: what is passed on the way, and the end.
    passed: HashMap<RelPath, Vec<RelPath>>,
    /// The folders that these lie in: a link in the place of one leads elsewhere.
    above: HashMap<RelPath, Sensitive>,
}

impl Guards {
    /// Those of the project on this `ground`, as it is, and as it will be with `after` in its folder `at`. `git` are the
    /// folders of Git's that are not called so. What cannot be read guards nothing.
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
                _ => link_there(found),
            }
        };
        let lead = |guards: &mut Guards, from: &Path, whole: bool, why: Sensitive| {
            let now = follow(project, from, link_there);
            for path in now.iter().chain(&follow(project, from, link_then)) {
                guards.add(path, whole, why);
            }
        };
        let then = after.iter().filter(|(_, merged)| matches!(merged.entry.kind, Kind::Symlink { .. }));
        let then: Vec<RelPath> = then.map(|(path, _)| at.below_with(path)).collect();
        for link in &then {
            let passed = follow(project, &project.join(link.as_path()), link_then);
            guards.passed.insert(link.clone(), passed);
        }
        for link in ground.links.iter().cloned().chain(then).filter(|link| !is_filled(link)) {
            // A link may stand for a folder.
            if let Some(why) = by_name(&link, false).or_else(|| by_name(&link.join(b"x"), false)) {
                lead(&mut guards, &project.join(link.as_path()), true, why);
            }
        }
        for named in ground.named(&outer_settings()) {
            match named {
                Named::Whole(path) => lead(&mut guards, &path, true, Sensitive::Git),
                Named::Word(path) => lead(&mut guards, &path, false, Sensitive::Git),
            }
        }
        guards
    }

    fn add(&mut self, path: &RelPath, whole: bool, why: Sensitive) {
        // If it were the project itself, every file would be asked about, and nobody would read the questions.
        if path.as_bytes().is_empty() {
            return;
        }
        let path = folded_path(path);
        for folder in path.folders() {
            self.above.entry(folder).or_insert(why);
        }
        if whole { &mut self.leads } else { &mut self.words }.entry(path).or_insert(why);
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
        if self.above.is_empty() && self.leads.is_empty() && self.words.is_empty() {
            return None;
        }
        let path = folded_path(path);
        let in_folder = || path.folders().find_map(|folder| self.leads.get(&folder).copied());
        let word = || self.words.get(&path).filter(|_| !matches!(kind, Some(Kind::Dir { .. }))).copied();
        let swapped =
            || self.above.get(&path).filter(|_| matches!(kind, Some(Kind::Symlink { .. }))).copied();
        self.leads.get(&path).copied().or_else(in_folder).or_else(word).or_else(swapped)
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
