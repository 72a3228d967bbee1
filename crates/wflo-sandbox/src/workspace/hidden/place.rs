//! Places that are hidden because of what wflo keeps there: by their names, and by the files that are there now.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags};

use super::Reason;
use crate::workspace::path::RelPath;

/// A place that wflo knows by the settings.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: RelPath,
    /// As other file systems read it.
    pub(super) folded: RelPath,
    pub(super) reason: Reason,
}

/// What the places that are known by the settings have in common.
#[derive(Debug)]
pub(super) struct Places<'a> {
    pub(super) project: &'a Path,
    known: HashSet<PathBuf>,
    /// Folders that they are in, links followed.
    folders: HashMap<PathBuf, PathBuf>,
}

impl<'a> Places<'a> {
    pub(super) fn of(project: &'a Path) -> Places<'a> {
        Places { project, known: HashSet::new(), folders: HashMap::new() }
    }

    /// Whether a place was not asked for before.
    pub(super) fn is_new(&mut self, place: &Path) -> bool {
        self.known.insert(place.to_owned())
    }

    /// A place by the folder that it is in, links followed: it need not exist yet.
    pub(super) fn named(&mut self, place: &Path) -> Option<PathBuf> {
        let (folder, name) = place.parent().zip(place.file_name())?;
        if let Some(real) = self.folders.get(folder) {
            return Some(real.join(name));
        }
        let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let named = real.join(name);
        self.folders.insert(folder.to_owned(), real);
        Some(named)
    }
}

/// What is at a place.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) mount: u64,
    pub(super) kind: FileType,
    pub(super) links: u64,
}

impl Found {
    /// Where a kernel does not tell the mount, that is 0.
    pub(super) fn at(file: &Path, flags: AtFlags) -> Option<Found> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        if let Ok(stat) = rustix::fs::statx(CWD, file, flags, wanted) {
            return Some(Found {
                device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
                inode: stat.stx_ino,
                mount: stat.stx_mnt_id,
                kind: FileType::from_raw_mode(stat.stx_mode.into()),
                links: stat.stx_nlink.into(),
            });
        }
        let stat = rustix::fs::statat(CWD, file, flags).ok()?;
        Some(Found {
            device: stat.st_dev,
            inode: stat.st_ino,
            mount: 0,
            kind: FileType::from_raw_mode(stat.st_mode),
            links: stat.st_nlink,
        })
    }
}
