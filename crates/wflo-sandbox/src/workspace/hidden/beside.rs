//! What lies beside a database: SQLite's own files, and those of wflo's store.
//!
//! Whoever opens a database has SQLite carry out what its side files say before anything of it is read: a journal is
//! rolled back, a log is replayed (<https://www.sqlite.org/atomiccommit.html>, 4.2). Who can write one of them can write
//! the whole database, so they are what the database is.

use std::path::{Path, PathBuf};

use crate::workspace::path::RelPath;

/// What SQLite keeps beside a database, and the database itself.
pub(super) const SIDE_FILES: [&str; 4] = ["", "-wal", "-shm", "-journal"];
/// What wflo keeps beside the file of its store: the turns of its writers, and whose it is.
const OF_STORE: [&str; 2] = ["-turn", "-owner"];
/// What it keeps in the folder of that file.
const IN_FOLDER: [&str; 3] = ["blobs", "engines", "gateway"];

/// The file that SQLite would take `path` for a side file of; `None` for every other name. In any case of letters, as
/// some file systems read names.
pub(crate) fn database_of(path: &RelPath) -> Option<RelPath> {
    let bytes = path.as_bytes();
    let (base, _) = SIDE_FILES.iter().filter(|suffix| !suffix.is_empty()).find_map(|suffix| {
        let at = bytes.len().checked_sub(suffix.len())?;
        let (base, end) = bytes.split_at(at);
        end.eq_ignore_ascii_case(suffix.as_bytes()).then_some((base, end))
    })?;
    // A name that is a suffix alone belongs to nothing.
    RelPath::from_bytes(base).ok().filter(|base| base.depth() == path.depth())
}

/// A database with all that SQLite keeps beside it: by its name, and where that is a link by what it leads to, because
/// SQLite follows it first.
pub(super) fn with_side_files(database: &Path) -> impl Iterator<Item = PathBuf> {
    let names = [Some(database.to_owned()), database.canonicalize().ok()];
    let all = |name: PathBuf| SIDE_FILES.iter().map(move |suffix| suffixed(&name, suffix));
    names.into_iter().flatten().flat_map(all)
}

/// All that a store of wflo's is.
pub(super) fn of_store(storage: &Path) -> impl Iterator<Item = PathBuf> {
    let folder = storage.parent().unwrap_or(Path::new(""));
    let beside = OF_STORE.iter().map(|suffix| suffixed(storage, suffix));
    with_side_files(storage).chain(beside).chain(IN_FOLDER.iter().map(|name| folder.join(name)))
}

fn suffixed(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_file_belongs_to_the_file_beside_it() {
        let of = |path: &str| database_of(&path.parse().unwrap()).map(|base| base.to_string());
        assert_eq!(of("a/x.db-journal").as_deref(), Some("a/x.db"));
        assert_eq!(of("x-WAL").as_deref(), Some("x"));
        assert_eq!(of("a/b.sqlite-shm").as_deref(), Some("a/b.sqlite"));
        for other in ["a/-journal", "-wal", "x.journal", "a-wal/b", "x.db-journal2"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
