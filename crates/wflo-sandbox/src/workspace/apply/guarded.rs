//! What is hidden or asked about because of what stands in the project: side files of its databases, and files that
//! wflo itself runs for it.
//!
//! Names alone say nothing here: `app.db-journal` is a file like any other until there is an `app.db`, and then it is
//! what becomes of that database when the next program opens it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::FileType;

use super::super::beneath::{self, Name};
use super::super::folding::folded_path;
use super::super::hidden::beside::database_of;
use super::super::hidden::{Hidden, Reason, decided_by};
use super::super::path::RelPath;
use super::super::store::blob::read_up_to;
use super::super::survey::secret_inside;
use super::sensitive::Sensitive;

/// How SQLite's files begin (<https://www.sqlite.org/fileformat.html>, 1.3).
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Why `path` needs the user's word although its name says nothing: it is a side file of a database that stands at
/// `root`, or one of `programs` or in one of them.
pub(super) fn why(path: &RelPath, root: impl AsFd, programs: &[RelPath]) -> io::Result<Option<Sensitive>> {
    if is_program(path, programs) {
        return Ok(Some(Sensitive::Program));
    }
    Ok(joins_database(path, root)?.then_some(Sensitive::Database))
}

pub(in crate::workspace) fn is_program(path: &RelPath, programs: &[RelPath]) -> bool {
    let folded = folded_path(path);
    let is_in = |known: &RelPath| path.is_within(known) || folded.is_within(&folded_path(known));
    programs.iter().any(is_in)
}

/// Whether a database stands at `root` that SQLite would take `path` for a part of. What cannot be read counts as one.
pub(in crate::workspace) fn joins_database(path: &RelPath, root: impl AsFd) -> io::Result<bool> {
    let root = root.as_fd();
    for database in [database_of(path), database_of(&folded_path(path))].into_iter().flatten() {
        let Some((found, stat)) = beneath::look(root, database.as_bytes())? else { continue };
        drop(found);
        // By its name alone: it may be encrypted, or a link to where it is.
        let named = decided_by(path.name()).0 != path.name();
        let is = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if stat.st_size == 0 => false,
            FileType::RegularFile => named || begins_as_one(root, &database),
            FileType::Symlink => named,
            _ => false,
        };
        if is {
            return Ok(true);
        }
    }
    Ok(false)
}

fn begins_as_one(root: impl AsFd, database: &RelPath) -> bool {
    let start = beneath::open_file(root, database.as_bytes());
    let start = start.and_then(|file| read_up_to(&File::from(file), MAGIC.len() as u64));
    start.map_or(true, |start| start == MAGIC)
}

/// Why `path` is hidden by what stands at `root`, where its name leaves that to a content: its own, or that of the
/// database that it would be a part of.
pub(super) fn hidden_by_content(
    path: &RelPath,
    root: impl AsFd,
    hidden: &Hidden,
) -> io::Result<Option<Reason>> {
    let Some(reason) = hidden.if_content(path) else { return Ok(None) };
    let (decides, _) = decided_by(path.name());
    let decides = match path.parent() {
        Some(folder) => folder.join(decides),
        None => RelPath::from_bytes(decides).map_err(io::Error::other)?,
    };
    let root = root.as_fd();
    let is_file = |path: &RelPath| -> io::Result<bool> {
        let found = beneath::look(root, path.as_bytes())?;
        Ok(found.is_some_and(|(_, stat)| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile))
    };
    if !is_file(path)? && !is_file(&decides)? {
        return Ok(None);
    }
    let (folder, name) = match beneath::open_parent(root, path) {
        Err(error) if beneath::is_absent(&error) => return Ok(None),
        other => other?,
    };
    let name = Name { name: name.to_vec(), kind: FileType::RegularFile, inode: 0 };
    Ok(secret_inside(&folder, &name).then_some(reason))
}
