//! Taking entries in: a folder is brought to what they say.

use super::{Entry, EntryKind};
use crate::workspace::{RelPath, beneath};
use rustix::fs::{AtFlags, FileType, Mode, Timespec, Timestamps};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The most bytes in the paths of folders.
const NAMES: usize = 64 << 20;

/// A folder that entries are put into.
#[derive(Debug)]
pub(crate) struct Intake {
    root: OwnedFd,
    /// The file whose bytes come now, and what it is to become at its end.
    open: Option<(File, Entry)>,
    /// Modes of folders, set at the end: a folder that may not be written is filled before.
    folders: BTreeMap<RelPath, u32>,
    /// How long their paths may be yet, all together: they are kept in memory.
    names: usize,
    entries: u64,
    bytes: u64,
}

impl Intake {
    /// Into the folder `root`; at most so many entries, and bytes in all files together.
    pub(crate) fn new(root: &Path, entries: u64, bytes: u64) -> io::Result<Self> {
        let root = beneath::open_root(root)?;
        Ok(Intake { root, open: None, folders: BTreeMap::new(), names: NAMES, entries, bytes })
    }

    /// Takes one entry.
    ///
    /// # Errors
    /// `EFBIG` above the bounds; what the system says.
    pub(crate) fn entry(&mut self, entry: Entry) -> io::Result<()> {
        self.close()?;
        self.entries = self.entries.checked_sub(1).ok_or_else(too_large)?;
        let (parent, name) = match beneath::open_parent(&self.root, &entry.path) {
            // What it was in has gone before it.
            Err(error) if entry.kind == EntryKind::Gone && beneath::is_absent(&error) => return Ok(()),
            opened => opened?,
        };
        match &entry.kind {
            EntryKind::Gone => return clear(&parent, name),
            EntryKind::Folder => {
                match beneath::look(&parent, name)? {
                    Some((_, stat)) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
                    found => {
                        if found.is_some() {
                            clear(&parent, name)?;
                        }
                        rustix::fs::mkdirat(&parent, name, Mode::from(0o700))?;
                    }
                }
                // Whatever it was: it can be filled now.
                let folder = beneath::open_dir(&parent, name);
                if folder.is_err() {
                    rustix::fs::chmodat(&parent, name, Mode::from(0o700), AtFlags::empty())?;
                }
                let length = entry.path.as_bytes().len();
                if self.folders.insert(entry.path, entry.mode).is_none() {
                    self.names = self.names.checked_sub(length).ok_or_else(too_large)?;
                }
            }
            EntryKind::Link(target) => {
                clear(&parent, name)?;
                rustix::fs::symlinkat(target.as_slice(), &parent, name)?;
            }
            EntryKind::File(length) => {
                // Its holes count: whoever reads it reads them.
                self.bytes = self.bytes.checked_sub(*length).ok_or_else(too_large)?;
                clear(&parent, name)?;
                let file = File::from(beneath::create_file(&parent, name, 0o600)?);
                file.set_len(*length)?;
                self.open = Some((file, entry));
            }
        }
        Ok(())
    }

    /// Takes bytes of the last file: where they lie in it, and they themselves.
    ///
    /// # Errors
    /// `EPROTO` outside of the file; what the system says.
    pub(crate) fn piece(&mut self, bytes: &[u8]) -> io::Result<()> {
        let broken = || io::Error::from_raw_os_error(libc::EPROTO);
        let (at, bytes) = bytes.split_at_checked(8).ok_or_else(broken)?;
        let at = at.try_into().map(u64::from_le_bytes).map_err(|_| broken())?;
        let Some((file, Entry { kind: EntryKind::File(length), .. })) = &self.open else {
            return Err(broken());
        };
        let end = at.checked_add(bytes.len() as u64).filter(|end| end <= length);
        end.ok_or_else(broken)?;
        file.write_all_at(bytes, at)
    }

    /// The file is complete.
    fn close(&mut self) -> io::Result<()> {
        let Some((file, entry)) = self.open.take() else { return Ok(()) };
        rustix::fs::fchmod(&file, Mode::from(entry.mode))?;
        let time = Timespec {
            tv_sec: entry.modified.div_euclid(1_000_000_000),
            tv_nsec: entry.modified.rem_euclid(1_000_000_000),
        };
        let accessed = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        Ok(rustix::fs::futimens(&file, &Timestamps { last_access: accessed, last_modification: time })?)
    }

    /// Everything has come.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.close()?;
        // Deepest first: behind a folder that is shut nothing can be reached.
        for (path, mode) in self.folders.iter().rev() {
            match beneath::open_dir(&self.root, path.as_bytes()) {
                Ok(folder) => rustix::fs::fchmod(&folder, Mode::from(*mode))?,
                // It was replaced by a later entry.
                Err(error) if beneath::is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn too_large() -> io::Error {
    io::Error::from_raw_os_error(libc::EFBIG)
}

/// Removes whatever is at a name, and all that is in it; nothing there is fine.
fn clear(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    use rustix::io::Errno;
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    if beneath::open_dir(parent, name).is_err() {
        rustix::fs::chmodat(parent, name, Mode::from(0o700), AtFlags::empty())?;
    }
    let folder = beneath::open_dir(parent, name)?;
    // Only one who owns a folder may need this, and then it is allowed.
    let _ = rustix::fs::fchmod(folder.as_fd(), Mode::from(0o700));
    for inner in beneath::names(&folder)? {
        clear(&folder, &inner.name)?;
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &str, mode: u32) -> Entry {
        Entry {
            path: RelPath::from_bytes(path.as_bytes()).unwrap(),
            mode,
            modified: 0,
            kind: EntryKind::Folder,
        }
    }

    #[test]
    fn folders_that_are_told_of_again_are_kept_once_and_their_names_have_a_bound() {
        let root = tempfile::tempdir().unwrap();
        let mut intake = Intake::new(root.path(), 100, 0).unwrap();
        for mode in [0o700, 0o755, 0o711] {
            intake.entry(folder("one", mode)).unwrap();
        }
        assert_eq!(intake.folders.values().collect::<Vec<_>>(), [&0o711]);
        intake.names = 5;
        intake.entry(folder("three", 0o700)).unwrap();
        assert_eq!(intake.entry(folder("four", 0o700)).unwrap_err().raw_os_error(), Some(libc::EFBIG));
        intake.finish().unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &root.path().join("one").metadata().unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o711);
    }
}
