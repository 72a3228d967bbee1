//! Taking files into the store: by known hash where possible, else copied, on all processors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::FileType;

use super::super::attributes::{self, Attributes};
use super::super::beneath;
use super::super::error::{IoAt, WorkspaceError};
use super::super::hidden::git::without_credentials;
use super::super::manifest::{Digest, Entry, Manifest};
use super::super::path::RelPath;
use super::super::store::Store;
use super::super::store::blob::{Content, read_up_to};
use super::super::store::tree::Parts;
use super::super::survey::{Seen, SeenKind};
use super::cache::{Cache, Known};
use super::plain_entry;

/// How often a file that changes while it is copied is tried again.
const TRIES: usize = 5;
/// Git's configuration and logs are rewritten in memory; a longer one is cut here.
const REPLACED_LIMIT: u64 = 16 * 1024 * 1024;
/// More threads than this wait for the disk, not for a processor.
const THREADS: usize = 8;

/// What is being sealed: what belongs to the project, or what Git ignores.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Plain,
    /// Files here may be unreadable or under constant change (logs): that fails nothing.
    Rest,
}

pub(super) struct Intake<'a> {
    pub(super) store: &'a Store,
    pub(super) project: &'a Path,
    pub(super) root: &'a OwnedFd,
    pub(super) cache: &'a mut Cache,
}

/// What became of one path.
enum Taken {
    Gone,
    LeftOut,
    Entry(Entry),
    File { entry: Entry, content: Content, seen: Seen, known: Known },
}

impl Intake<'_> {
    /// Stores the tree of `seen`; gives its digest and manifest.
    pub(super) fn add(
        &mut self,
        seen: &[Seen],
        group: Group,
        left_out: &mut Vec<RelPath>,
    ) -> Result<(Digest, Manifest), WorkspaceError> {
        let mut taken = in_parallel(seen, |entry| self.take(entry, group, true))?;
        if !self.store.has(&manifest_of(seen, &taken).0.digest()) {
            // The tree must be built: contents known by hash alone may not be there any more.
            let again = in_parallel(seen, |entry| match self.store_has(entry) {
                true => Ok(None),
                false => self.take(entry, group, false).map(Some),
            })?;
            for (slot, fresh) in taken.iter_mut().zip(again) {
                if let Some(fresh) = fresh {
                    *slot = fresh;
                }
            }
        }
        for (entry, taken) in seen.iter().zip(&taken) {
            match taken {
                Taken::LeftOut => left_out.push(entry.path.clone()),
                Taken::File { seen, known, .. } if seen.kind == SeenKind::File => {
                    self.cache.learn(seen, known.clone());
                }
                Taken::Entry(folder) if folder.is_dir() => {
                    let attributes = folder.attributes.clone();
                    self.cache.learn(entry, Known { hash: Digest::of(b""), attributes });
                }
                _ => {}
            }
        }
        let (manifest, parts) = manifest_of(seen, &taken);
        Ok((self.store.add_tree(&manifest, &parts)?, manifest))
    }

    /// Whether nothing needs to be read for this entry.
    fn store_has(&self, seen: &Seen) -> bool {
        match seen.kind {
            SeenKind::Dir | SeenKind::Symlink => true,
            SeenKind::Replaced => false,
            SeenKind::File => self.cache.known(seen).is_some_and(|known| self.blob(seen, known).exists()),
        }
    }

    fn blob(&self, seen: &Seen, known: &Known) -> std::path::PathBuf {
        self.store.blob_path(&known.hash, seen.mode, seen.mtime, &known.attributes)
    }

    /// Those of a folder, read where it has changed.
    fn of_folder(&self, seen: &Seen) -> io::Result<Attributes> {
        if let Some(known) = self.cache.known(seen) {
            return Ok(known.attributes.clone());
        }
        let found = attributes::read(beneath::open_any(self.root, seen.path.as_bytes())?)?.kept;
        Ok(if self.store.takes(&found)? { found } else { Attributes::default() })
    }

    fn take(&self, seen: &Seen, group: Group, trust: bool) -> Result<Taken, WorkspaceError> {
        let taken = self.try_take(seen, group, trust);
        match taken {
            Err(WorkspaceError::Io { source, .. }) if beneath::is_absent(&source) => Ok(Taken::Gone),
            Err(WorkspaceError::Io { source, .. })
                if group == Group::Rest && source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Ok(Taken::LeftOut)
            }
            other => other,
        }
    }

    fn try_take(&self, seen: &Seen, group: Group, trust: bool) -> Result<Taken, WorkspaceError> {
        let shown = self.project.join(seen.path.as_path());
        let target = || beneath::link_target(beneath::open_any(self.root, seen.path.as_bytes())?);
        if let Some(entry) = plain_entry(seen, target).at("read", &shown)? {
            let entry = match entry.is_dir() {
                true => entry.with(self.of_folder(seen).at("read", &shown)?),
                false => entry,
            };
            return Ok(Taken::Entry(entry));
        }
        if let Some(known) = self.cache.known(seen).filter(|_| trust && seen.kind == SeenKind::File) {
            let content = Content::Stored(self.blob(seen, known));
            let entry = Entry::file(seen.mode, seen.size, known.hash).with(known.attributes.clone());
            return Ok(Taken::File { entry, content, seen: seen.clone(), known: known.clone() });
        }
        let file = File::from(beneath::open_file(self.root, seen.path.as_bytes()).at("open", &shown)?);
        for attempt in 1..=TRIES {
            let before = rustix::fs::fstat(&file).at("read", &shown)?;
            if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile {
                return Ok(Taken::Gone);
            }
            let now = Seen::new(seen.path.clone(), seen.kind, &before);
            let mut has = Attributes::default();
            let added = if seen.kind == SeenKind::Replaced {
                let content = read_up_to(&file, REPLACED_LIMIT).at("read", &shown)?;
                let clean = without_credentials(&seen.path, &content);
                self.store.add_bytes(&clean, now.mode, now.mtime)
            } else {
                has = attributes::read(&file).at("read", &shown)?.kept;
                self.store.add_file(&file, now.mode, now.mtime, &has, u64::MAX)
            };
            let added = added.at("copy", &shown)?;
            if added.refused {
                has = Attributes::default();
            }
            let after = rustix::fs::fstat(&file).at("read", &shown)?;
            let after = Seen::new(seen.path.clone(), seen.kind, &after);
            let steady = (after.size, after.mtime, after.ctime) == (now.size, now.mtime, now.ctime);
            if steady || (group == Group::Rest && attempt == TRIES) {
                let entry = Entry::file(now.mode, added.size, added.hash).with(has.clone());
                let known = Known { hash: added.hash, attributes: has };
                return Ok(Taken::File { entry, content: added.content, seen: now, known });
            }
        }
        Err(WorkspaceError::KeepsChanging { path: seen.path.clone() })
    }
}

fn manifest_of(seen: &[Seen], taken: &[Taken]) -> (Manifest, Parts) {
    let (mut manifest, mut parts) = (Manifest::default(), Parts::default());
    let mut names: BTreeMap<(u64, u64), Vec<RelPath>> = BTreeMap::new();
    for (looked, taken) in seen.iter().zip(taken) {
        let path = &looked.path;
        match taken {
            Taken::Gone | Taken::LeftOut => {}
            Taken::Entry(entry) => {
                manifest.entries.insert(path.clone(), entry.clone());
                if looked.kind == SeenKind::Dir {
                    parts.times.insert(path.clone(), looked.mtime);
                }
            }
            Taken::File { entry, content, seen, .. } => {
                manifest.entries.insert(path.clone(), entry.clone());
                parts.contents.insert(path.clone(), content.clone());
                if seen.links > 1 && seen.kind == SeenKind::File {
                    names.entry((seen.device, seen.inode)).or_default().push(path.clone());
                }
            }
        }
    }
    manifest.link(names.into_values());
    (manifest, parts)
}

/// Maps every item, in order, on as many threads as there are processors.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, WorkspaceError> + Sync,
) -> Result<Vec<R>, WorkspaceError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    if items.len() < 64 || threads == 1 {
        return items.iter().map(work).collect();
    }
    let chunk = items.len().div_ceil(threads * 4);
    let chunks: Vec<&[T]> = items.chunks(chunk).collect();
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(chunk) = chunks.get(index) else { return done };
            done.push((index, chunk.iter().map(&work).collect::<Result<Vec<R>, WorkspaceError>>()));
        }
    };
    let mut parts = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut parts = run();
        for other in others {
            match other.join() {
                Ok(more) => parts.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        parts
    });
    parts.sort_unstable_by_key(|(index, _)| *index);
    let mut all = Vec::with_capacity(items.len());
    for (_, part) in parts {
        all.extend(part?);
    }
    Ok(all)
}
