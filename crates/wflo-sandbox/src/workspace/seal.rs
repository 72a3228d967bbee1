//! Sealing a project at submission: what every step of the run starts from.
//!
//! A sealed workspace is two trees and a list. The *tree* holds what Git does not ignore; its
//! digest names the code that runs. The *rest* holds the small ignored files (caches, local
//! outputs) so that they too are the same for every step and can be written copy-on-write. Large
//! ignored folders (dependencies, big build outputs) are not copied: they are the list of *live*
//! paths, which the sandbox shows read-only.
//!
//! **Architecture Invariant:** what is hidden is in neither tree, and a second seal of an unchanged
//! project copies and hashes nothing.

mod cache;
mod intake;

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::cache::Cache;
use self::intake::{Group, Intake};
use super::apply::journal::Desk;
use super::beneath;
use super::error::{IoAt, WorkspaceError};
use super::hidden::{Hidden, Reason};
use super::manifest::{Digest, Entry, Manifest};
use super::path::RelPath;
use super::repository;
use super::store::{Pin, Store, kept, sync_folder};
use super::survey::{Seen, SeenKind, Survey, survey};

/// Small ignored entries are copied until so many files are reached; the others are shown live.
const REST_FILES: usize = 20_000;
/// Small ignored entries are copied until so many bytes are reached; the others are shown live.
const REST_BYTES: u64 = 256 * 1024 * 1024;

/// A project as it was at submission.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// Names this seal: keep it with the run, and give it to [`Sealed::open`].
    pub id: Digest,
    /// Of `manifest`: the same files give the same digest everywhere.
    pub digest: Digest,
    /// What Git does not ignore and is not hidden.
    pub manifest: Manifest,
    /// What Git ignores.
    pub rest: Rest,
    /// What was hidden, and why. Empty for a seal that was opened again.
    pub hidden: Vec<(RelPath, Reason)>,
    /// What of that Git tracks, and takes for deleted where it is not seen. Empty for a seal opened again.
    pub missed: Vec<RelPath>,
    /// Git's folder of the project, where it lies outside of it. None for a seal opened again.
    pub repository: Option<PathBuf>,
    /// Sockets, FIFOs, devices and unreadable ignored files. Empty for a seal opened again.
    pub left_out: Vec<RelPath>,
    /// Keeps the seal from being collected until a run refers to it. None for a seal opened again.
    pub pin: Pin,
}

/// The ignored part of a sealed project.
#[derive(Debug, Clone)]
pub struct Rest {
    /// Of `manifest`.
    pub digest: Digest,
    /// The small ignored files, as they were.
    pub manifest: Manifest,
    /// Large ignored files and folders, shown live and read-only.
    pub live: Vec<RelPath>,
    /// Hidden files with several names, by (device, inode): never shown in a live folder.
    pub(crate) linked: Vec<(u64, u64)>,
}

/// What is stored of a seal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) tree: Digest,
    pub(crate) rest: Digest,
    live: Vec<RelPath>,
    linked: Vec<(u64, u64)>,
}

/// Seals the project: copies into `store` what is not there yet. Nothing in the project changes.
///
/// # Errors
/// [`WorkspaceError::KeepsChanging`] for a file under constant change; [`WorkspaceError::Io`];
/// [`WorkspaceError::StateInside`] when the store lies in the project;
/// [`WorkspaceError::ApplyInterrupted`] while it holds half of a run's changes.
pub fn seal(project: &Path, hidden: &Hidden, store: &Store) -> Result<Sealed, WorkspaceError> {
    let project = project.canonicalize().at("open the project", project)?;
    if store.root().starts_with(&project) {
        return Err(WorkspaceError::StateInside { root: store.root().to_owned(), project });
    }
    let _whole = Desk::keep_away(store, &project)?;
    let _adding = store.adding()?;
    let root = beneath::open_root(&project).at("open the project", &project)?;
    let cache_file =
        store.folder("cache").join(Digest::of(project.as_os_str().as_encoded_bytes()).to_string());
    // The file system's own clock, so that it compares with the times of files.
    let now = kept::clock(store)?;
    let mut cache = Cache::read(&cache_file);
    let mut found = survey(&project, &root, hidden)?;
    let (copied, live) = split_rest(&mut found);

    let mut intake = Intake { store, project: &project, root: &root, cache: &mut cache };
    let (tree, manifest) = intake.add(&found.plain, Group::Plain, &mut found.left_out)?;
    let (rest, rest_manifest) = intake.add(&copied, Group::Rest, &mut found.left_out)?;
    cache.write(&cache_file, now);

    let mut linked: Vec<(u64, u64)> = found.linked.into_iter().collect();
    linked.sort_unstable();
    let record = Record { tree, rest, live, linked };
    let id = record.write(store)?;
    Ok(Sealed {
        id,
        digest: tree,
        manifest,
        rest: Rest { digest: rest, manifest: rest_manifest, live: record.live, linked: record.linked },
        missed: missed(&root, hidden, &found.hidden),
        repository: repository::elsewhere(&project),
        hidden: found.hidden,
        left_out: found.left_out,
        pin: store.pin_seal(&id)?,
    })
}

impl Sealed {
    /// Opens a seal again by its id.
    ///
    /// # Errors
    /// [`WorkspaceError::Missing`] when it was pruned, [`WorkspaceError::Damaged`] when its
    /// manifests are not what they were.
    pub fn open(store: &Store, id: &Digest) -> Result<Sealed, WorkspaceError> {
        let record = Record::read(store, id)?;
        Ok(Sealed {
            id: *id,
            digest: record.tree,
            manifest: store.manifest(&record.tree)?,
            rest: Rest {
                digest: record.rest,
                manifest: store.manifest(&record.rest)?,
                live: record.live,
                linked: record.linked,
            },
            hidden: Vec::new(),
            missed: Vec::new(),
            repository: None,
            left_out: Vec::new(),
            pin: Pin::default(),
        })
    }
}

impl Record {
    pub(crate) fn read(store: &Store, id: &Digest) -> Result<Record, WorkspaceError> {
        let path = store.folder("sealed").join(id.to_string());
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let root = store.root().to_owned();
                return Err(WorkspaceError::Missing { what: "sealed workspace", id: id.to_string(), root });
            }
            other => other.at("read", &path)?,
        };
        serde_json::from_slice(&bytes)
            .ok()
            .filter(|_| Digest::of(&bytes) == *id)
            .ok_or_else(|| WorkspaceError::Damaged { what: format!("sealed workspace {id}") })
    }

    fn write(&self, store: &Store) -> Result<Digest, WorkspaceError> {
        let folder = store.folder("sealed");
        let bytes = serde_json::to_vec(self).map_err(io::Error::from).at("write in", &folder)?;
        let id = Digest::of(&bytes);
        let path = folder.join(id.to_string());
        match path.exists() {
            // Whoever wrote it may not have come to this yet.
            true => sync_folder(&folder)?,
            false => write_durably(&folder, &path, &bytes)?,
        }
        Ok(id)
    }
}

/// What of the hidden Git misses, where it is seen itself.
fn missed(root: &OwnedFd, rules: &Hidden, hidden: &[(RelPath, Reason)]) -> Vec<RelPath> {
    if !rules.shows_git() {
        return Vec::new();
    }
    let paths = hidden.iter().filter(|(_, reason)| *reason != Reason::DataDirectory).map(|(path, _)| path);
    repository::missed(root, &paths.cloned().collect::<Vec<_>>())
}

/// Writes a file of the store so that it is whole or not there.
pub(crate) fn write_durably(folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), WorkspaceError> {
    let mut file = tempfile::NamedTempFile::new_in(folder).at("create a file in", folder)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).at("write", path)?;
    fs::rename(file.path(), path).at("write", path)?;
    sync_folder(folder)
}

/// Which ignored entries are copied, and which are shown live.
fn split_rest(found: &mut Survey) -> (Vec<Seen>, Vec<RelPath>) {
    let (mut copied, mut live, mut bytes) = (Vec::new(), Vec::new(), 0u64);
    for top in found.ignored.drain(..) {
        let fits =
            copied.len() + top.seen.len() <= REST_FILES && bytes.saturating_add(top.bytes) <= REST_BYTES;
        if top.large || !fits {
            live.push(top.path);
        } else {
            bytes += top.bytes;
            copied.extend(top.seen);
        }
    }
    live.sort_unstable();
    (copied, live)
}

/// The entry of something that has no content to read.
fn plain_entry(seen: &Seen, target: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<Option<Entry>> {
    Ok(match seen.kind {
        SeenKind::Dir => Some(Entry::dir(seen.mode)),
        SeenKind::Symlink => Some(Entry::symlink(target()?)),
        SeenKind::File | SeenKind::Replaced => None,
    })
}
