//! Opening: the data directory, the file, whose it is, and how it is run.
//!
//! Owns every check that is made before the first write, so that a file that is not ours, is damaged
//! or is newer than this program is left byte for byte as it was.
//!
//! **Architecture Invariant:** the database file is opened by SQLite only, never by this program:
//! closing another descriptor of it would drop SQLite's own record locks.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use wflo_core::ports::store::StoreError;

use super::fault::Fault;
use super::wal::{damage, origin};
use super::{migrate, schema};
use crate::blob::sync_dir;

/// "wflo", in the header of every database of ours.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"wflo");

/// The most bytes of a database that has no log yet: its first page, and room for larger ones.
const MAKING: u64 = 4 * 4096;

/// Statements kept prepared on each connection.
const STATEMENTS: usize = 96;

/// A database's place: its file and the data directory around it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    pub(crate) dir: PathBuf,
}

impl Place {
    /// Reads a path or a `sqlite:` URL.
    ///
    /// # Errors
    /// [`StoreError::Failed`] for a URL of another kind or a path without a file name.
    pub(crate) fn parse(location: &Path) -> Result<Place, StoreError> {
        let text = location.to_str().unwrap_or("");
        let path = match text.split_once(':') {
            Some(("sqlite", rest)) => PathBuf::from(rest.strip_prefix("//").unwrap_or(rest)),
            Some((scheme @ ("postgres" | "postgresql"), _)) => {
                return Err(StoreError::Failed(format!(
                    "{scheme} storage is not part of this release; use sqlite:PATH"
                )));
            }
            _ => location.to_path_buf(),
        };
        if path.file_name().is_none() {
            return Err(StoreError::Failed(format!("`{}` names no database file", location.display())));
        }
        let absolute = std::path::absolute(&path).map_err(|error| failed(&path, &error))?;
        let dir = absolute.parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
        Ok(Place { file: absolute, dir })
    }

    /// The write-ahead log beside the database.
    pub(crate) fn log(&self) -> PathBuf {
        beside(&self.file, "-wal")
    }

    /// Where SQLite keeps a rollback journal of a database without a log.
    fn journal(&self) -> PathBuf {
        beside(&self.file, "-journal")
    }
}

/// The file whose name is the database's with this behind it.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.to_owned().into_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes sure that the data directory and a usable database are there, and opens the first connection.
///
/// Waits at most `wait` for other programs.
///
/// # Errors
/// [`StoreError::Locked`], [`StoreError::Corrupt`], [`StoreError::Altered`], [`StoreError::TooNew`],
/// [`StoreError::DiskFull`], or [`StoreError::Failed`] when the folder cannot be written.
pub(crate) fn first(place: &Place, wait: Duration) -> Result<Connection, StoreError> {
    make_data_dir(&place.dir)?;
    check_journal(place)?;
    check_log(place)?;
    let deadline = Instant::now() + wait;
    loop {
        match prepare(place) {
            // Switching the journal's mode is refused at once while others open the same file.
            Err(fault) if fault.is_busy() && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(3));
            }
            other => {
                if other.is_ok() {
                    origin::mark(&place.log());
                }
                return other.map_err(|fault| fault.named(&place.file));
            }
        }
    }
}

/// A further connection to a database that [`first`] has opened.
///
/// # Errors
/// As SQLite says.
pub(crate) fn further(place: &Place, wait: Duration) -> Result<Connection, Fault> {
    let conn = connect(place, OpenFlags::empty())?;
    conn.busy_timeout(wait)?;
    configure(&conn)?;
    Ok(conn)
}

/// Makes the data directory, and an empty file in the database's place where there is nothing yet: so it is known which
/// file a store is before anything is in it.
///
/// # Errors
/// [`StoreError::DiskFull`], or [`StoreError::Failed`] when the folder cannot be written.
pub fn begin(location: &Path) -> Result<(), StoreError> {
    let place = Place::parse(location)?;
    make_data_dir(&place.dir)?;
    // A new one, which SQLite has not opened.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&place.file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(&place.file, &error)),
        _ => Ok(()),
    }
}

fn prepare(place: &Place) -> Result<Connection, Fault> {
    let fresh = !place.file.exists();
    let mut conn = connect(place, OpenFlags::SQLITE_OPEN_CREATE)?;
    if fresh {
        // Before anything is in it; the log and its index take over the file's mode.
        fs::set_permissions(&place.file, Permissions::from_mode(0o600))
            .map_err(|error| failed(&place.file, &error))?;
    }
    conn.busy_timeout(Duration::from_millis(50))?;
    check_owner(place, &conn)?;
    // Only before the first page is written: a database that has pages stays as it is, and to ask it
    // again would take the write lock, which a reader must not need.
    let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    if pages == 0 {
        conn.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
    }
    let mode = keep_a_log(&conn)?;
    if mode != "wal" {
        return Err(StoreError::Failed(format!(
            "{} cannot keep a write-ahead log (mode {mode}): use a local file system",
            place.file.display()
        ))
        .into());
    }
    if size(&place.file) <= MAKING {
        // SQLite has removed the journal of the switch, which a loss of power may bring back: not beside a log.
        let synced = fs::File::open(&place.dir).and_then(|dir| dir.sync_all());
        synced.map_err(|error| failed(&place.dir, &error))?;
    }
    configure(&conn)?;
    if pages == 0 {
        // The log is there now, with nothing in it: whoever is killed from here on leaves one of their own.
        conn.query_row("PRAGMA user_version", [], |_| Ok(()))?;
        origin::mark(&place.log());
    }
    migrate::run(place, &mut conn, APPLICATION_ID)?;
    Ok(conn)
}

/// Switches to a write-ahead log; the mode that it came to. The switch is committed only when the statement
/// is stepped past its one row: a failure of that commit would otherwise go unseen.
fn keep_a_log(conn: &Connection) -> Result<String, Fault> {
    let mut statement = conn.prepare("PRAGMA journal_mode = WAL")?;
    let mut rows = statement.query([])?;
    let mut mode = String::new();
    while let Some(row) = rows.next()? {
        mode = row.get(0)?;
    }
    Ok(mode)
}

fn connect(place: &Place, create: OpenFlags) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | create
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    Ok(Connection::open_with_flags(&place.file, flags)?)
}

/// Whose file is it? Only reads.
fn check_owner(place: &Place, conn: &Connection) -> Result<(), Fault> {
    // One snapshot for the three: another process may be creating the database right now.
    let snapshot = conn.unchecked_transaction()?;
    let tables: u32 = snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let application: i32 = snapshot.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let found: u32 = snapshot.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let path = || place.file.display().to_string();
    if application == APPLICATION_ID {
        if found > migrate::NEWEST {
            return Err(StoreError::TooNew { path: path(), found, known: migrate::NEWEST }.into());
        }
        let difference = schema::difference(&snapshot, found)?;
        snapshot.finish()?;
        return match difference {
            Some(detail) => Err(StoreError::Altered { path: path(), detail }.into()),
            None => Ok(()),
        };
    }
    snapshot.finish()?;
    match application == 0 && found == 0 && tables == 0 {
        true => Ok(()),
        false => Err(StoreError::Corrupt {
            path: path(),
            detail: "it is a database of another application".to_owned(),
        }
        .into()),
    }
}

/// Looks for a journal that SQLite would roll back into the database before it opens its log, and so before anything of
/// the database can be checked. While a store is made there may be one, until it has its log; later there never is.
fn check_journal(place: &Place) -> Result<(), StoreError> {
    // Before the journal is looked for: another process may be making the store right now.
    let made = size(&place.log()) > 0 || size(&place.file) > MAKING;
    if !made || fs::symlink_metadata(place.journal()).is_err() {
        return Ok(());
    }
    let journal = place.journal();
    let name = journal.file_name().unwrap_or_default().display();
    let detail = format!("{name} lies beside it, and wflo leaves no such journal");
    Err(StoreError::Altered { path: place.file.display().to_string(), detail })
}

fn size(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |about| about.len())
}

/// Reads the log before SQLite does, which would take damage for its end and write over what follows. The
/// log, and not the database: SQLite keeps no lock on it.
fn check_log(place: &Place) -> Result<(), StoreError> {
    let log = place.log();
    match damage::find(&log).map_err(|error| failed(&log, &error))? {
        None => Ok(()),
        Some(at) => {
            let name = log.file_name().unwrap_or_default().display();
            let detail = format!("its log {name} is damaged at byte {at}, and commits follow behind that");
            Err(StoreError::Corrupt { path: place.file.display().to_string(), detail })
        }
    }
}

fn configure(conn: &Connection) -> Result<(), Fault> {
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // Checkpoints are the writer's business; temporary structures never touch the disk.
    conn.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY;
         PRAGMA foreign_keys = OFF; PRAGMA trusted_schema = OFF; PRAGMA cache_size = -8192;
         PRAGMA mmap_size = 0;",
    )?;
    Ok(())
}

/// Makes a data directory, durably, where there is none: for its user alone, and not for Git.
///
/// # Errors
/// [`StoreError::DiskFull`], or [`StoreError::Failed`].
pub fn make_data_dir(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| failed(dir, &error))?;
    // Nobody means to commit it to the project that it lies in. Without this it only shows there.
    let ignored = dir.join(".gitignore");
    let begun = OpenOptions::new().write(true).create_new(true).mode(0o600).open(ignored);
    let _ = begun.and_then(|mut file| file.write_all(b"*\n"));
    // SQLite flushes the names inside the folder; the folder's own name is ours to flush.
    match dir.parent() {
        Some(parent) => sync_dir(parent).map_err(|error| failed(parent, &error)),
        None => Ok(()),
    }
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    let path = path.display().to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull { path },
        _ => StoreError::Failed(format!("{path}: {error}")),
    }
}
