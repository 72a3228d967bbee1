//! Whether a log was made by a wflo of this machine.
//!
//! SQLite applies whatever valid log lies beside a database, page by page, and that may be any database: a `git pull`
//! into a data directory could replace a whole store by its log alone. So a log bears a mark that neither version
//! control nor an archive carries along: an extended attribute, set while the log is empty, and durable with its first
//! commit, which syncs the same inode.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::super::open::beside;
use super::HEADER;

const MARK: &str = "user.wflo.log";

/// Marks the log that SQLite has just opened. A file system without attributes keeps no mark.
pub(crate) fn mark(log: &Path) {
    match rustix::fs::lsetxattr(log, MARK, b"1", XattrFlags::CREATE) {
        Ok(()) | Err(Errno::EXIST | Errno::OPNOTSUPP) => {}
        // The next wflo asks whose it is, if this one leaves anything in it.
        Err(error) => tracing::warn!(%error, log = %log.display(), "the store's log cannot be marked"),
    }
}

/// Takes the log beside `database` for one of this machine: somebody has said so.
pub fn take(database: &Path) {
    let log = beside(database, "-wal");
    if log.symlink_metadata().is_ok_and(|about| about.is_file()) {
        mark(&log);
        if is_brought(database)
            && let Ok(about) = database.metadata()
        {
            let _ = std::fs::set_permissions(&log, about.permissions());
        }
    }
}

/// Whether the log beside `database` holds anything and was not made by a wflo of this machine. Where no marks can
/// be kept the file's mode decides: SQLite gives a log that of its database, and others' tools do not.
#[must_use]
pub fn is_brought(database: &Path) -> bool {
    let log = beside(database, "-wal");
    let Ok(about) = log.symlink_metadata() else { return false };
    if about.is_file() && about.len() <= HEADER {
        return false;
    }
    match rustix::fs::lgetxattr(&log, MARK, &mut [0_u8; 8]) {
        _ if !about.is_file() => true,
        Ok(_) => false,
        Err(Errno::OPNOTSUPP) => {
            let of = |mode: u32| mode & 0o777;
            database.metadata().map_or(true, |store| of(store.mode()) != of(about.mode()))
        }
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::{SqliteStore, StoreOptions};

    #[test]
    fn a_log_of_ones_own_is_known_and_one_in_its_place_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (database, log) = (folder.path().join("wflo.db"), folder.path().join("wflo.db-wal"));
        assert!(!is_brought(&database));
        let store = SqliteStore::open(&database, StoreOptions::default()).unwrap();
        assert!(log.metadata().unwrap().len() > HEADER, "the schema is in it");
        assert!(!is_brought(&database));
        // As a kill leaves it, and a copy in its place.
        let content = std::fs::read(&log).unwrap();
        drop(store);
        let brought = folder.path().join("brought");
        std::fs::write(&brought, &content).unwrap();
        std::fs::rename(&brought, &log).unwrap();
        assert!(is_brought(&database));
        take(&database);
        assert!(!is_brought(&database), "once somebody has said so");
        std::fs::rename(&log, &brought).unwrap();
        std::os::unix::fs::symlink(&brought, &log).unwrap();
        assert!(is_brought(&database), "SQLite makes no links");
        std::fs::remove_file(&log).unwrap();
        std::fs::write(&log, []).unwrap();
        assert!(!is_brought(&database), "there is nothing in it");
    }
}
