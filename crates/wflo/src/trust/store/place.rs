//! A store's place: what lies there, and what this machine knows of it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use wflo_core::error::{Code, Coded};
use wflo_core::ports::clock::Clock;
use wflo_engine::clock::SystemClock;
use wflo_sandbox::workspace::{Digest, state_root};

use super::super::own::{self, Unkept};
use crate::failure::CommandError;
use crate::settings::Settings;

/// What the mark's name adds to the store's (`workspace/hidden/beside.rs` hides it).
const MARK: &str = "-owner";
/// The most of a mark that is read, in bytes.
const LONGEST: u64 = 64;

/// What the user's state folder says of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    store: PathBuf,
    /// Empty for one that was used without being this machine's.
    id: String,
    /// The number of its file; none from a wflo that had begun to make it.
    inode: Option<u64>,
    /// When the file was made, in nanoseconds since 1970, where the file system says it: a number is given again.
    #[serde(default)]
    born: Option<u64>,
}

/// The mark of a store cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be written: {source}", path.display())]
struct Unmarked {
    path: PathBuf,
    source: io::Error,
}

impl Coded for Unmarked {
    fn code(&self) -> Code {
        Code(8012)
    }

    fn hint(&self) -> Option<String> {
        Some(
            "it says that the store is yours: move away what has its name, or make its folder writable"
                .to_owned(),
        )
    }
}

/// Where a store stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is none yet, or nothing in it.
    New,
    /// Made by this user, here, or accepted.
    Own,
    /// By an earlier wflo of this user, which made no marks: it has said which store it works with.
    Earlier,
    /// Somebody else's, as far as anybody knows.
    Brought,
}

/// A store in a project.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) store: PathBuf,
    /// The user's record of it.
    record: PathBuf,
    /// What an earlier wflo has said of it.
    claim: PathBuf,
}

impl Place {
    /// The store of a project, if it lies in it.
    pub(super) fn of(settings: &Settings) -> Option<Place> {
        Place::at(&settings.project.root, &settings.storage, &settings.data_dir)
    }

    fn at(root: &Path, storage: &Path, data_dir: &Path) -> Option<Place> {
        let storage = std::path::absolute(storage).ok()?;
        let in_folder = || Some(storage.parent()?.canonicalize().ok()?.join(storage.file_name()?));
        let store = storage.canonicalize().ok().or_else(in_folder).unwrap_or_else(|| storage.clone());
        if !store.starts_with(root) {
            return None;
        }
        let name = Digest::of(store.as_os_str().as_bytes()).to_string();
        let record = own::beside(root, "stores").with_file_name(format!("{name}.json"));
        // As `workspace::Store::claim_for` has it.
        let claim = Digest::of(storage.as_os_str().as_bytes()).to_string();
        let claim = state_root(root, data_dir).join("owners").join(claim);
        Some(Place { store, record, claim })
    }

    pub(super) fn standing(&self) -> Standing {
        let Some(about) = self.store.metadata().ok().filter(|about| about.len() > 0) else {
            return Standing::New;
        };
        if wflo_store::has_brought_log(&self.store) {
            return Standing::Brought;
        }
        match self.recorded() {
            Some(record) if self.is_own(&record, &about) => Standing::Own,
            Some(_) => Standing::Brought,
            None if self.is_claimed() => Standing::Earlier,
            None => Standing::Brought,
        }
    }

    fn is_own(&self, record: &Record, about: &Metadata) -> bool {
        let is_born_then = || match (record.born, born(about)) {
            (Some(then), Some(now)) => then == now,
            _ => true,
        };
        record.inode == Some(about.ino()) && is_born_then() && self.marked().as_ref() == Some(&record.id)
    }

    fn recorded(&self) -> Option<Record> {
        own::read(&self.record).ok().flatten().filter(|record: &Record| record.store == self.store)
    }

    fn mark(&self) -> PathBuf {
        let mut name = self.store.clone().into_os_string();
        name.push(MARK);
        PathBuf::from(name)
    }

    /// The id beside the store; only a file of this user's own says one.
    fn marked(&self) -> Option<String> {
        let me = rustix::process::geteuid().as_raw();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(self.mark(), flags, Mode::empty()).ok()?);
        let about = file.metadata().ok().filter(|about| about.is_file() && about.uid() == me)?;
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text).ok()?;
        (about.mode() & 0o022 == 0).then(|| text.trim().to_owned()).filter(|id| !id.is_empty())
    }

    /// Whether the user's own state folder says that a wflo has worked with this store before there were marks.
    fn is_claimed(&self) -> bool {
        let me = rustix::process::geteuid().as_raw();
        let own = |path: &Path| {
            path.symlink_metadata().is_ok_and(|about| about.uid() == me && about.mode() & 0o022 == 0)
        };
        own(&self.claim) && self.claim.parent().is_some_and(own)
    }

    /// Makes the store's file, with nothing in it, and says that it is this machine's. Whatever takes its place from
    /// then on is not, however this command ends. Where no file can be made, whoever opens it says why.
    ///
    /// # Errors
    /// As [`Place::claim`].
    pub(super) fn begin(&self) -> Result<(), CommandError> {
        match wflo_store::begin(&self.store) {
            Ok(()) => self.claim(),
            Err(_) => Ok(()),
        }
    }

    /// Says that a store that was brought along is this machine's from now on, with its log.
    ///
    /// # Errors
    /// As [`Place::claim`].
    pub(super) fn accept(&self) -> Result<(), CommandError> {
        wflo_store::take_log(&self.store);
        self.claim()
    }

    /// Says that the file that is there is this machine's.
    ///
    /// # Errors
    /// `WFLO-8012`, with the file that cannot be written.
    pub(super) fn claim(&self) -> Result<(), CommandError> {
        let unkept = |source| Unkept { path: self.record.clone(), source };
        // A store has one id, whoever comes at the same moment.
        let _alone = own::alone(&self.record).map_err(unkept)?;
        let about = self.store.metadata().map_err(|source| Unmarked { path: self.store.clone(), source })?;
        if self.recorded().is_some_and(|record| self.is_own(&record, &about)) {
            return Ok(());
        }
        let id = SystemClock::default().uuid().simple().to_string();
        self.write_mark(&id).map_err(|source| Unmarked { path: self.mark(), source })?;
        let record = Record { store: self.store.clone(), id, inode: Some(about.ino()), born: born(&about) };
        Ok(own::write(&self.record, &record).map_err(unkept)?)
    }

    fn write_mark(&self, id: &str) -> io::Result<()> {
        let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
        let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits();
        options.clone().custom_flags(flags.cast_signed()).open(self.mark())?.write_all(id.as_bytes())
    }

    /// Says that it was used and is not this machine's own: what an earlier wflo said counts no more.
    pub(super) fn disown(&self) {
        let stranger = Record { store: self.store.clone(), id: String::new(), inode: Some(0), born: None };
        let written = own::alone(&self.record).and_then(|_alone| own::write(&self.record, &stranger));
        if let Err(error) = written {
            tracing::debug!(%error, "that a store is somebody else's is not kept");
        }
    }
}

fn born(about: &Metadata) -> Option<u64> {
    let since = about.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

#[cfg(test)]
mod tests;
