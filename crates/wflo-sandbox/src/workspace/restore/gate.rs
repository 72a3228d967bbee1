//! What a run wrote and [`super::super::apply()`] would ask about is not written to a project by a restore.
//!
//! A restore asks nothing, so in a project it refuses: the files that act by themselves, the links that lead
//! out, what becomes a program. What stands there already is no question, and neither is what the user
//! submitted. Modes are those that an apply gives.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::super::apply::{Guards, Look, Sensitive, entry_at, is_program, joins_database, mode_in_project};
use super::super::beneath;
use super::super::diff::{Change, ChangeKind, content_of, whole as whole_file};
use super::super::error::IoAt;
use super::super::hidden::{Hidden, HideRules};
use super::super::layer::MergedTree;
use super::super::manifest::Digest;
use super::super::path::RelPath;
use super::super::repository::Ground;
use super::super::store::Store;
use super::super::view::View;
use super::{RestoreError, RestoreOptions};

/// A folder with this file is a project.
pub(super) const SETTINGS: &str = "wflo.toml";

/// Lets `tree` through to a target outside of every project, and to one in a project what needs no word.
pub(super) fn pass(
    tree: &mut MergedTree,
    view: &View,
    store: &Store,
    target: &Path,
    options: &RestoreOptions,
) -> Result<(), RestoreError> {
    let whole = target.canonicalize().unwrap_or_else(|_| target.to_owned());
    let own = options.hidden.as_ref().map(|(project, _)| project.as_path());
    let is_project = |folder: &&Path| Some(*folder) == own || folder.join(SETTINGS).is_file();
    // Names are judged by where they are in a project, and one may lie in another.
    let mut places = Vec::new();
    for project in whole.ancestors().filter(is_project) {
        let Ok(inside) = whole.strip_prefix(project) else { continue };
        let at = match inside.as_os_str().is_empty() {
            true => RelPath::root(),
            false => RelPath::from_bytes(inside.as_os_str().as_encoded_bytes())?,
        };
        let rules = options.hidden.as_ref().filter(|(own, _)| own.as_path() == project);
        let hidden = match rules {
            Some((_, hidden)) => hidden.clone(),
            None => Hidden::new(project, &HideRules::default())?,
        };
        let ground = Ground::of(project);
        let names: Vec<RelPath> = tree.keys().map(|path| at.below_with(path)).collect();
        let git = ground.git_folders(names.iter());
        places.push((hidden, inside, Guards::new(&ground, git, &at, tree, &options.definitions)));
    }
    if places.is_empty() {
        return Ok(());
    }
    let root =
        if whole.is_dir() { Some(beneath::open_root(&whole).at("open the folder", &whole)?) } else { None };
    let mut paths = Vec::new();
    for (path, merged) in tree.iter_mut().filter(|(_, merged)| merged.from != view.sealed.digest) {
        let before = match &root {
            Some(root) => entry_at(root, path.as_bytes()).at("read", &whole.join(path.as_path()))?,
            None => None,
        };
        let mut change = Change {
            path: path.clone(),
            kind: if before.is_some() { ChangeKind::Modified } else { ChangeKind::Added },
            before,
            after: None,
            binary: false,
            before_from: None,
            after_from: Some(merged.from),
            after_link: merged.link.clone(),
        };
        merged.entry.mode = mode_in_project(&change, merged.entry.mode);
        change.after = Some(merged.entry.clone());
        if change.before == change.after {
            continue;
        }
        let joins = match &root {
            Some(root) => joins_database(path, root).at("read", &whole.join(path.as_path()))?,
            None => false,
        };
        if joins {
            paths.push(path.clone());
            continue;
        }
        for (hidden, place, guards) in &places {
            change.path = RelPath::from_bytes(place.join(path.as_path()).as_os_str().as_encoded_bytes())?;
            let look = Standing { at: path, from: merged.from, store, root: root.as_ref(), hidden };
            let runs = is_program(&change.path, &options.programs);
            if runs || Sensitive::of(&change, guards, &look).is_some() {
                paths.push(path.clone());
                break;
            }
        }
    }
    if paths.is_empty() { Ok(()) } else { Err(RestoreError::AsksFirst { target: whole, paths }) }
}

/// A file to restore, and what stands in its place.
struct Standing<'a> {
    at: &'a RelPath,
    from: Digest,
    store: &'a Store,
    root: Option<&'a OwnedFd>,
    hidden: &'a Hidden,
}

impl Look for Standing<'_> {
    fn start(&self) -> [u8; 2] {
        let content = self.store.open_content(&self.from, self.at);
        let mut start = [0; 2];
        if let Ok(mut file) = content {
            let _ = file.read_exact(&mut start);
        }
        start
    }

    fn contents(&self, most: u64) -> [Option<Vec<u8>>; 2] {
        let there = self.root.and_then(|root| beneath::open_file(root, self.at.as_bytes()).ok());
        let before = there.and_then(|file| whole_file(&File::from(file), most));
        [before, content_of(self.store, Some(self.from), self.at, most)]
    }

    fn hides(&self, path: &RelPath) -> bool {
        self.hidden.by_path(path).is_some()
    }
}
