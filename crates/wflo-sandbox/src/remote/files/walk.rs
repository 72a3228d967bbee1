//! Reading a folder for the other side: all of it, or what has changed since it was filled.

use super::super::frame::{Frame, Kind, PIECE};
use super::{Entry, EntryKind};
use crate::workspace::{RelPath, beneath};
use rustix::fs::{AtFlags, FileType, Mode, SeekFrom, Stat};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How deep folders are read; deeper ones are left out, and the walk fails.
const DEEPEST: usize = 256;
/// How many entries are read.
const MOST: usize = 1_000_000;
/// A change this soon after the folder was filled could have the filling's own time.
const CLOCK_STEP: i64 = 50_000_000;

/// What tells that nobody has touched something: where it is kept, and when it was last changed in any way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: i64,
    changed: i64,
}

impl Stamp {
    fn of(stat: &Stat) -> Stamp {
        let changed = nanos(stat.st_ctime, stat.st_ctime_nsec.cast_signed());
        // How many names a folder has is no change of its own.
        let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let (size, changed) = if folder { (i64::from(stat.st_mode), 0) } else { (stat.st_size, changed) };
        Stamp { inode: stat.st_ino, size, changed }
    }
}

fn nanos(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// How a folder was when it had been filled, and what has been told of it since.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    known: BTreeMap<RelPath, Stamp>,
    /// What the other side was told is there.
    told: BTreeSet<RelPath>,
    complete: i64,
}

impl Stamps {
    /// Notes what is in `root` now.
    pub(crate) fn take(root: &Path) -> io::Result<Stamps> {
        let root = beneath::open_root(root)?;
        let mut found = Vec::new();
        walk(&root, &mut |path, stat| found.push((path, Stamp::of(stat))))?;
        // A file of its own says what time its changes would have.
        let newest = found.iter().map(|(_, stamp)| stamp.changed).max().unwrap_or(0);
        Ok(Stamps { known: found.into_iter().collect(), told: BTreeSet::new(), complete: newest })
    }

    /// What differs from that now, and what had been told and is gone.
    pub(crate) fn differences(&mut self, root: &Path) -> io::Result<Outgoing> {
        let folder = beneath::open_root(root)?;
        let mut changed = VecDeque::new();
        let mut seen = BTreeSet::new();
        let (known, complete) = (&self.known, self.complete);
        walk(&folder, &mut |path, stat| {
            let stamp = Stamp::of(stat);
            let certain = stamp.changed < complete - CLOCK_STEP || stamp.changed == 0;
            if !(certain && known.get(&path) == Some(&stamp)) {
                changed.push_back(path.clone());
            }
            seen.insert(path);
        })?;
        let was = known.keys().chain(&self.told);
        let gone = was.filter(|path| !seen.contains(*path)).cloned().collect();
        self.told.extend(changed.iter().cloned());
        Ok(Outgoing { root: folder, gone, paths: changed, open: None })
    }
}

/// Entries on their way out, read as they are asked for.
#[derive(Debug)]
pub(crate) struct Outgoing {
    root: OwnedFd,
    gone: VecDeque<RelPath>,
    paths: VecDeque<RelPath>,
    /// The file that is read, where its next byte is, and where it ends.
    open: Option<(File, u64, u64)>,
}

impl Outgoing {
    /// All that is in a folder.
    pub(crate) fn all(root: &Path) -> io::Result<Outgoing> {
        let folder = beneath::open_root(root)?;
        let mut paths = VecDeque::new();
        walk(&folder, &mut |path, _| paths.push_back(path))?;
        Ok(Outgoing { root: folder, gone: VecDeque::new(), paths, open: None })
    }

    /// The next frame; `None` when there is none. What goes away while it is read is left out.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(piece) = self.piece()? {
                return Ok(Some(piece));
            }
            if let Some(path) = self.gone.pop_front() {
                let entry = Entry { path, kind: EntryKind::Gone, mode: 0, modified: 0 };
                return Ok(Some(Frame::new(Kind::Entry, 0, entry.encode())));
            }
            let Some(path) = self.paths.pop_front() else { return Ok(None) };
            match self.entry(path) {
                Ok(Some(entry)) => return Ok(Some(Frame::new(Kind::Entry, 0, entry.encode()))),
                Ok(None) => {}
                Err(error) if beneath::is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn entry(&mut self, path: RelPath) -> io::Result<Option<Entry>> {
        let Some((found, stat)) = beneath::look(&self.root, path.as_bytes())? else { return Ok(None) };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => EntryKind::Folder,
            FileType::Symlink => EntryKind::Link(beneath::link_target(&found)?),
            FileType::RegularFile => {
                let file = match beneath::open_file(&self.root, path.as_bytes()) {
                    // Its owner took the permission away; its owner can give it.
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        let (parent, name) = beneath::open_parent(&self.root, &path)?;
                        let mode = Mode::from((stat.st_mode & 0o777) | 0o400);
                        rustix::fs::chmodat(&parent, name, mode, AtFlags::empty())?;
                        beneath::open_file(&self.root, path.as_bytes())
                    }
                    opened => opened,
                }?;
                let now = rustix::fs::fstat(&file)?;
                if (now.st_dev, now.st_ino) != (stat.st_dev, stat.st_ino) {
                    return Ok(None);
                }
                let length = now.st_size.cast_unsigned();
                self.open = Some((File::from(file), 0, length));
                EntryKind::File(length)
            }
            // Sockets, FIFOs and devices are nothing that could be kept.
            _ => return Ok(None),
        };
        let modified = nanos(stat.st_mtime, stat.st_mtime_nsec.cast_signed());
        Ok(Some(Entry { path, kind, mode: stat.st_mode & 0o777, modified }))
    }

    /// The next bytes of the file that is open, over its holes.
    fn piece(&mut self) -> io::Result<Option<Frame>> {
        let Some((file, at, end)) = &mut self.open else { return Ok(None) };
        let data = match rustix::fs::seek(&*file, SeekFrom::Data(*at)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => *end,
            // A file system without holes.
            Err(rustix::io::Errno::INVAL) => *at,
            Err(error) => return Err(error.into()),
        };
        let mut bytes = data.to_le_bytes().to_vec();
        let room = usize::try_from(end.saturating_sub(data)).unwrap_or(PIECE).min(PIECE);
        bytes.resize(8 + room, 0);
        let read = bytes.get_mut(8..).map_or(Ok(0), |buffer| file.read_at(buffer, data))?;
        if read == 0 {
            self.open = None;
            return Ok(None);
        }
        bytes.truncate(8 + read);
        *at = data + read as u64;
        Ok(Some(Frame::new(Kind::Piece, 0, bytes)))
    }
}

/// Everything below a folder, each folder before what is in it; file systems mounted in it are passed by.
fn walk(root: &OwnedFd, found: &mut dyn FnMut(RelPath, &Stat)) -> io::Result<()> {
    let device = rustix::fs::fstat(root)?.st_dev;
    let mut count = 0;
    // Paths, not descriptors: a hostile folder has more folders than a process has descriptors.
    let mut waiting = vec![RelPath::root()];
    while let Some(at) = waiting.pop() {
        if at.depth() > DEEPEST {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let folder = match open_folder(root, &at) {
            Err(error) if beneath::is_absent(&error) => continue,
            opened => opened?,
        };
        for name in beneath::names(&folder)? {
            let path = at.join(&name.name);
            let Some((_, stat)) = beneath::look(&folder, &name.name)? else { continue };
            if stat.st_dev != device {
                continue;
            }
            count += 1;
            if count > MOST {
                return Err(io::Error::from_raw_os_error(libc::EFBIG));
            }
            found(path.clone(), &stat);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                waiting.push(path);
            }
        }
    }
    Ok(())
}

/// Opens a folder whose owner, this user, may have taken its own permission away.
fn open_folder(root: &OwnedFd, at: &RelPath) -> io::Result<OwnedFd> {
    match beneath::open_dir(root, at.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let (parent, name) = beneath::open_parent(root, at)?;
            let mode = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode & 0o777;
            rustix::fs::chmodat(&parent, name, Mode::from(mode | 0o500), AtFlags::empty())?;
            beneath::open_dir(root, at.as_bytes())
        }
        opened => opened,
    }
}
