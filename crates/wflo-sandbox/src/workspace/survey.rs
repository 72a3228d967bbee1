//! One look at a project: what belongs to it, what Git ignores, what is hidden.
//!
//! Reads names and attributes, and content only where that decides whether a file is hidden. Every
//! folder is entered through the descriptor of the one above, so a link never leads out. Ignored
//! folders that are too large to be copied are still searched for hidden names, because those must
//! not be shown by a mount of the folder either.

mod ignored;

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Stat};

use self::ignored::Ignores;
use super::beneath;
use super::error::{IoAt, WorkspaceError};
use super::hidden::git::{Folders, Marks};
use super::hidden::{Hidden, Reason, Templates, Verdict, decided_by, holds_secret};
use super::path::RelPath;
use super::store::blob::{Nanos, nanos, read_up_to};

/// Folders nested deeper than this are refused: each costs a descriptor while it is open.
pub(crate) const MAX_DEPTH: usize = 256;

/// An ignored entry with more files than this is shown live instead of being copied.
const COPY_FILES: usize = 2_000;
/// An ignored entry with more bytes than this is shown live instead of being copied.
const COPY_BYTES: u64 = 32 * 1024 * 1024;

/// One file, folder or link as it was seen.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: RelPath,
    pub(crate) kind: SeenKind,
    pub(crate) mode: u32,
    pub(crate) size: u64,
    pub(crate) mtime: Nanos,
    pub(crate) ctime: Nanos,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) links: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeenKind {
    Dir,
    File,
    /// A file of Git whose credential-free copy is taken.
    Replaced,
    Symlink,
}

impl Seen {
    pub(crate) fn new(path: RelPath, kind: SeenKind, stat: &Stat) -> Self {
        Seen {
            path,
            kind,
            mode: stat.st_mode & 0o777,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: nanos(stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
            ctime: nanos(stat.st_ctime, stat.st_ctime_nsec.cast_signed()),
            device: stat.st_dev,
            inode: stat.st_ino,
            links: {
                #[allow(clippy::useless_conversion, reason = "32 bits wide on arm64")]
                u64::from(stat.st_nlink)
            },
        }
    }
}

/// A topmost entry that Git ignores.
#[derive(Debug)]
pub(crate) struct IgnoredTop {
    pub(crate) path: RelPath,
    /// Everything visible in it, itself first; incomplete when `large`.
    pub(crate) seen: Vec<Seen>,
    pub(crate) bytes: u64,
    /// Too large to copy.
    pub(crate) large: bool,
}

/// What a project holds.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) plain: Vec<Seen>,
    pub(crate) ignored: Vec<IgnoredTop>,
    pub(crate) hidden: Vec<(RelPath, Reason)>,
    /// Sockets, FIFOs, devices, and ignored folders that may not be read: not part of a workspace.
    pub(crate) left_out: Vec<RelPath>,
    /// Hidden files that have other names, by (device, inode).
    pub(crate) linked: HashSet<(u64, u64)>,
}

/// Looks at the whole project below `root`, the descriptor of `project`.
pub(crate) fn survey(project: &Path, root: &OwnedFd, hidden: &Hidden) -> Result<Survey, WorkspaceError> {
    let ignores = Ignores::for_project(project, root);
    let (git, templates, found) = (hidden.git().clone(), OnceCell::new(), Survey::default());
    let mut walk = Walk { project, root, hidden, git, templates, found };
    walk.folder(root.as_fd(), &RelPath::root(), &ignores)?;
    Ok(walk.without_hard_links())
}

struct Walk<'a> {
    project: &'a Path,
    root: &'a OwnedFd,
    hidden: &'a Hidden,
    /// What Git has of its templates, once that is asked for.
    templates: OnceCell<Templates>,
    /// Git's folders so far: of one in which this looks it is known.
    git: Folders,
    found: Survey,
}

/// What to do with a name.
enum Take {
    Skip,
    As(SeenKind, Stat),
}

impl Walk<'_> {
    fn folder(&mut self, dir: impl AsFd, at: &RelPath, ignores: &Ignores) -> Result<(), WorkspaceError> {
        self.check_depth(at)?;
        let dir = dir.as_fd();
        let ignores = ignores.entering(self.project, at, dir);
        for name in self.names(dir, at)? {
            let path = at.join(&name.name);
            let is_dir = name.kind == FileType::Directory;
            let Take::As(kind, stat) = self.take(dir, &path, &name)? else { continue };
            if ignores.ignores(self.project, &path, is_dir) {
                let mut top = IgnoredTop { path: path.clone(), seen: Vec::new(), bytes: 0, large: false };
                self.ignored(dir, &mut top, Seen::new(path, kind, &stat))?;
                self.found.ignored.push(top);
                continue;
            }
            self.found.plain.push(Seen::new(path.clone(), kind, &stat));
            if is_dir && let Some(inner) = self.enter(dir, &path)? {
                self.folder(inner, &path, &ignores)?;
            }
        }
        Ok(())
    }

    /// Adds an ignored entry and, for a folder, what is below; stops collecting once it is large.
    fn ignored(&mut self, dir: impl AsFd, top: &mut IgnoredTop, entry: Seen) -> Result<(), WorkspaceError> {
        let dir = dir.as_fd();
        let (path, kind) = (entry.path.clone(), entry.kind);
        top.bytes = top.bytes.saturating_add(if kind == SeenKind::Dir { 0 } else { entry.size });
        top.seen.push(entry);
        top.large |= top.seen.len() > COPY_FILES || top.bytes > COPY_BYTES;
        if kind != SeenKind::Dir {
            return Ok(());
        }
        self.check_depth(&path)?;
        let inner = match self.enter(dir, &path) {
            Err(WorkspaceError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                self.found.left_out.push(path);
                return Ok(());
            }
            other => other?,
        };
        let Some(inner) = inner else { return Ok(()) };
        for name in self.names(&inner, &path)? {
            let below = path.join(&name.name);
            if !top.large {
                if let Take::As(kind, stat) = self.take(&inner, &below, &name)? {
                    self.ignored(&inner, top, Seen::new(below, kind, &stat))?;
                }
                continue;
            }
            // Names only from here on; a file is looked at when its name says so.
            let is_dir = name.kind == FileType::Directory;
            if self.hidden.own_with(&below, is_dir, &self.git) != Verdict::Visible {
                self.take(&inner, &below, &name)?;
            } else if is_dir {
                let stat = rustix::fs::fstat(&inner).at("read", &self.project.join(path.as_path()))?;
                self.ignored(&inner, top, Seen::new(below, SeenKind::Dir, &stat))?;
                top.seen.pop();
            }
        }
        Ok(())
    }

    fn names(&mut self, dir: impl AsFd, at: &RelPath) -> Result<Vec<beneath::Name>, WorkspaceError> {
        let names = beneath::names(dir).at("list", &self.project.join(at.as_path()))?;
        if names.iter().map(|name| name.name.as_slice()).collect::<Marks>().are_gits() {
            self.git.add(at);
        }
        Ok(names)
    }

    /// Opens a folder; `None` when it went away.
    fn enter(&self, dir: impl AsFd, path: &RelPath) -> Result<Option<OwnedFd>, WorkspaceError> {
        match beneath::open_dir(dir, path.name()) {
            Err(error) if beneath::is_absent(&error) => Ok(None),
            other => other.map(Some).at("open the folder", &self.project.join(path.as_path())),
        }
    }

    fn check_depth(&self, path: &RelPath) -> Result<(), WorkspaceError> {
        if path.depth() <= MAX_DEPTH {
            return Ok(());
        }
        let limit = MAX_DEPTH as u64;
        Err(WorkspaceError::TooLarge { what: "nested folders", limit, path: path.clone() })
    }

    /// Decides about one name, and notes it when it is hidden.
    fn take(&mut self, dir: impl AsFd, path: &RelPath, name: &beneath::Name) -> Result<Take, WorkspaceError> {
        let dir = dir.as_fd();
        let stat = match rustix::fs::statat(dir, name.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => return Ok(Take::Skip),
            other => other.at("read", &self.project.join(path.as_path()))?,
        };
        let is_dir = name.kind == FileType::Directory;
        let mut replaced = false;
        let reason = match self.hidden.own_with(path, is_dir, &self.git) {
            Verdict::Visible => None,
            Verdict::Hidden(reason) => Some(reason),
            Verdict::ByContent(reason) | Verdict::IfContent(reason) => {
                secret_inside(dir, name).then_some(reason)
            }
            Verdict::Template => {
                let templates = self.templates.get_or_init(|| Templates::of(self.root, self.hidden));
                (!templates.have(dir, path, name)).then_some(Reason::Environment)
            }
            Verdict::Replaced => {
                replaced = name.kind == FileType::RegularFile;
                None
            }
        };
        let reason = reason.or_else(|| {
            let known = !is_dir && self.hidden.by_inode(stat.st_dev, stat.st_ino);
            known.then_some(Reason::HardLink)
        });
        if let Some(reason) = reason {
            self.found.hidden.push((path.clone(), reason));
            self.note_links(dir, name, &stat, 0);
            return Ok(Take::Skip);
        }
        if replaced {
            self.note_links(dir, name, &stat, 0);
        }
        Ok(match name.kind {
            FileType::Directory => Take::As(SeenKind::Dir, stat),
            FileType::RegularFile if replaced => Take::As(SeenKind::Replaced, stat),
            FileType::RegularFile => Take::As(SeenKind::File, stat),
            FileType::Symlink => Take::As(SeenKind::Symlink, stat),
            _ => {
                self.found.left_out.push(path.clone());
                Take::Skip
            }
        })
    }

    /// Remembers hidden files that have other names, those in hidden folders included.
    fn note_links(&mut self, dir: impl AsFd, name: &beneath::Name, stat: &Stat, depth: usize) {
        match name.kind {
            FileType::RegularFile if stat.st_nlink > 1 => {
                self.found.linked.insert((stat.st_dev, stat.st_ino));
            }
            FileType::Directory if depth < 8 => {
                let Ok(inner) = beneath::open_dir(dir, &name.name) else { return };
                for child in beneath::names(&inner).unwrap_or_default() {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    if let Ok(stat) = rustix::fs::statat(&inner, child.name.as_slice(), flags) {
                        self.note_links(&inner, &child, &stat, depth + 1);
                    }
                }
            }
            _ => {}
        }
    }

    /// Takes out what turned out to be another name of a hidden file.
    fn without_hard_links(mut self) -> Survey {
        let linked = &self.found.linked;
        if !linked.is_empty() {
            let hidden = &mut self.found.hidden;
            let mut clean = |seen: &mut Vec<Seen>| {
                seen.retain(|entry| {
                    let other_name = entry.kind == SeenKind::File
                        && entry.links > 1
                        && linked.contains(&(entry.device, entry.inode));
                    if other_name {
                        hidden.push((entry.path.clone(), Reason::HardLink));
                    }
                    !other_name
                });
            };
            clean(&mut self.found.plain);
            self.found.ignored.iter_mut().for_each(|top| clean(&mut top.seen));
            self.found.ignored.retain(|top| !top.seen.is_empty());
        }
        self.found
    }
}

/// Reads a file whose name alone does not decide. What cannot be read counts as a secret.
pub(crate) fn secret_inside(dir: impl AsFd, name: &beneath::Name) -> bool {
    if name.kind != FileType::RegularFile {
        return name.kind != FileType::Symlink;
    }
    let (decides, most) = decided_by(&name.name);
    let content = || -> io::Result<Vec<u8>> {
        let file = File::from(beneath::open_file(dir, decides)?);
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        read_up_to(&file, most)
    };
    content().map_or(true, |content| holds_secret(&name.name, &content))
}
