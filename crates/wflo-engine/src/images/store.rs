//! Where images are kept, and who may remove them.
//!
//! ```text
//! <state>/images/blobs, trees, …     a workspace store of their own: what was installed, sealed
//! <state>/images/made/<key>.json     what a key stands for: written last, whole, by renaming
//! <state>/images/locks/<key>         shared by who takes it for a run, held alone by who removes it
//! <state>/images/locks/<key>.build   held alone by who builds or removes it
//! <state>/images/interpreters/       what interpreters said of themselves
//! ```
//! **Architecture Invariant:** a record is removed only by who holds its lock alone, and asks the runs after
//! that: who is about to record a run that has it holds the lock. A run has the tree that it was started with and no other:
//! another one may be built under its key meanwhile. The tree is pinned by who is about to record the run and by who
//! shows it to sandboxes, and in between wanted by the record.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use wflo_sandbox::Bind;
use wflo_sandbox::workspace::{self, Collected, Digest, Pin, RelPath, Store, WorkspaceError};

use super::error::ImageError;
use super::{Image, PYTHON, Packages};

/// How long others that are adding to the store are waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether another one has ended.
const MEANWHILE: Duration = Duration::from_millis(100);
/// A record is small.
const LIMIT: u64 = 4 << 20;

/// What an image holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An environment of Python packages.
    #[default]
    Python,
    /// Programs of a distribution.
    System,
}

/// A file that something was installed from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// The package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `amd64`, `all`.
    pub architecture: String,
    /// Of the file, as hexadecimal digits; the installer has found it in a signed index.
    pub sha256: String,
}

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The key.
    pub key: String,
    /// What it holds.
    #[serde(default)]
    pub kind: Kind,
    /// The sealed tree.
    pub tree: Digest,
    /// The interpreter that it is for, if it is for one.
    #[serde(default)]
    pub python: Option<PathBuf>,
    /// That one's version, or the system that it is for.
    pub version: String,
    /// What was asked for.
    pub requirements: Vec<String>,
    /// What was installed: names and versions, as the installer has it.
    pub packages: Vec<String>,
    /// From what, where that is known by its hash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Archive>,
    /// Files that the packages bring and that are not shown: they would act in programs of the machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Bytes of its files.
    pub bytes: u64,
    /// When it was built.
    pub at: Timestamp,
}

impl Record {
    /// Its first packages, for people.
    pub(super) fn some_packages(&self) -> String {
        const NAMED: usize = 12;
        let mut named: Vec<&str> = self.packages.iter().map(String::as_str).take(NAMED).collect();
        let more = format!("{} more", self.packages.len().saturating_sub(NAMED));
        if self.packages.len() > NAMED {
            named.push(&more);
        }
        named.join(", ")
    }
}

/// The images of a project.
#[derive(Debug)]
pub struct Images {
    store: Store,
    /// The trees that this process shows to sandboxes: held until it ends.
    shown: Mutex<BTreeMap<Digest, Pin>>,
}

/// Keeps an image from being removed.
#[derive(Debug, Clone)]
pub struct Held {
    #[expect(dead_code, reason = "locks are held, not read")]
    locks: Arc<(OwnedFd, Pin)>,
}

/// What is found under a key.
#[derive(Debug)]
pub(super) enum Look {
    /// Nothing.
    Absent,
    /// Somebody is removing it, or has just left it: to be looked at again.
    Busy,
    /// The image; it stays while it is held.
    There(Box<Record>, Held),
}

/// What a pass has removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// The images.
    pub records: Vec<Record>,
    /// Those that somebody uses now.
    pub busy: Vec<Record>,
    /// Disk space that came back, in bytes.
    pub bytes: u64,
    /// Whether files stay until a later pass because others were adding to them.
    pub later: bool,
}

impl Images {
    /// The images below a project's state folder.
    ///
    /// # Errors
    /// When they cannot be opened.
    pub fn open_in(state: &Path) -> Result<Images, ImageError> {
        let store = Store::open(state.join("images"))?;
        for name in ["made", "locks", "interpreters", "void"] {
            let folder = store.root().join(name);
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(ImageError::io(&folder))?;
        }
        Ok(Images { store, shown: Mutex::default() })
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.store.root().join(name)
    }

    /// The files of an image on this host.
    #[must_use]
    pub fn tree(&self, record: &Record) -> PathBuf {
        self.store.tree(&record.tree)
    }

    /// What is there under a key. Waits for nobody but who is storing something at this moment.
    pub(super) fn look(&self, key: &str) -> Result<Look, ImageError> {
        let lock = self.lock_file(key, "")?;
        if !self.place(key).exists() {
            return Ok(Look::Absent);
        }
        if !self.flock(&lock, key, FlockOperation::NonBlockingLockShared)? {
            return Ok(Look::Busy);
        }
        // Whoever held it alone may have removed it.
        let Some(record) = self.read(key)? else { return Ok(Look::Absent) };
        match self.store.pin(std::slice::from_ref(&record.tree)) {
            Ok(pin) => Ok(Look::There(Box::new(record), Held { locks: Arc::new((lock, pin)) })),
            // Another one was built in its place, and the old one is gone.
            Err(WorkspaceError::Missing { .. }) => Ok(Look::Busy),
            Err(error) => Err(error.into()),
        }
    }

    /// The image of a key, if it is there, after whoever removes it.
    pub(super) async fn open(self: &Arc<Self>, key: &str) -> Result<Option<(Record, Held)>, ImageError> {
        loop {
            let (images, of) = (Arc::clone(self), key.to_owned());
            let looked = tokio::task::spawn_blocking(move || images.look(&of)).await;
            match looked.map_err(|e| ImageError::Broken(e.to_string()))?? {
                Look::Absent => return Ok(None),
                Look::There(record, held) => return Ok(Some((*record, held))),
                Look::Busy => tokio::time::sleep(MEANWHILE).await,
            }
        }
    }

    /// Takes the building of a key for oneself, if nobody has it.
    pub(super) fn claim(&self, key: &str) -> Result<Option<Claim>, ImageError> {
        let lock = self.lock_file(key, ".build")?;
        let got = self.flock(&lock, key, FlockOperation::NonBlockingLockExclusive)?;
        Ok(got.then_some(Claim { _lock: lock }))
    }

    /// The same, after whoever has it. Whoever waits may be ended at any time: nothing blocks.
    pub(super) async fn claim_after(&self, key: &str) -> Result<Claim, ImageError> {
        loop {
            if let Some(claim) = self.claim(key)? {
                return Ok(claim);
            }
            tokio::time::sleep(MEANWHILE).await;
        }
    }

    /// Whether the lock was got; `false` only for one that is not waited for.
    fn flock(&self, lock: &OwnedFd, key: &str, operation: FlockOperation) -> Result<bool, ImageError> {
        match rustix::fs::flock(lock, operation) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(ImageError::io(self.place(key))(error.into())),
        }
    }

    /// Makes an image visible. `pin` has kept its tree since it was sealed; it is durable when this returns.
    pub(super) fn publish(&self, record: &Record, pin: Pin) -> Result<(), ImageError> {
        let (place, folder) = (self.place(&record.key), self.folder("made"));
        let json = serde_json::to_vec(record).map_err(|e| ImageError::Broken(e.to_string()))?;
        crate::failpoint::pass("image.record.before");
        let mut part = tempfile::NamedTempFile::new_in(&folder).map_err(ImageError::io(&folder))?;
        part.write_all(&json).and_then(|()| part.as_file().sync_all()).map_err(ImageError::io(&place))?;
        part.persist(&place).map_err(|e| ImageError::io(&place)(e.error))?;
        File::open(&folder).and_then(|folder| folder.sync_all()).map_err(ImageError::io(&folder))?;
        drop(pin);
        Ok(())
    }

    /// What a key stands for now; nothing where that cannot be read, which the next one is built over.
    pub(super) fn record(&self, key: &str) -> Option<Record> {
        self.read(key).ok().flatten()
    }

    /// All images, the newest first. Those whose record is damaged are none.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn list(&self) -> Result<Vec<Record>, ImageError> {
        let mut found: Vec<Record> = self.keys()?.iter().filter_map(|key| self.record(key)).collect();
        found.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.key.cmp(&b.key)));
        Ok(found)
    }

    fn keys(&self) -> Result<Vec<String>, ImageError> {
        let folder = self.folder("made");
        let names = std::fs::read_dir(&folder).map_err(ImageError::io(&folder))?.flatten();
        let key = |name: std::ffi::OsString| Some(name.to_str()?.strip_suffix(".json")?.to_owned());
        Ok(names.filter_map(|entry| key(entry.file_name())).filter(|key| is_key(key)).collect())
    }

    /// Removes the images of `keys` that nobody uses, and records that cannot be read. `needed` gives what recorded runs
    /// may still need; it is asked when nobody can begin to use one of the images, and once more when nobody can
    /// begin to use a tree.
    ///
    /// # Errors
    /// What `needed` fails with: then nothing was removed. When something cannot be removed.
    pub fn remove(
        &self,
        keys: &[String],
        needed: impl Fn() -> Result<Vec<Image>, ImageError>,
    ) -> Result<Removed, ImageError> {
        let mut removed = Removed::default();
        let mut claimed = Vec::new();
        for record in self.list()?.into_iter().filter(|record| keys.contains(&record.key)) {
            let lock = self.lock_file(&record.key, "")?;
            let alone = self.flock(&lock, &record.key, FlockOperation::NonBlockingLockExclusive)?;
            match self.claim(&record.key)?.filter(|_| alone) {
                Some(claim) => claimed.push((record, (lock, claim))),
                None => removed.busy.push(record),
            }
        }
        let of_runs = needed()?;
        for (record, locks) in claimed {
            if of_runs.iter().any(|image| image.key == record.key) {
                removed.busy.push(record);
                continue;
            }
            let place = self.place(&record.key);
            std::fs::remove_file(&place).map_err(ImageError::io(&place))?;
            drop(locks);
            removed.records.push(record);
        }
        self.remove_damaged()?;
        // A run that was recorded since then has dropped its pin only after that, and is seen now.
        let wanted = || -> Result<Vec<Digest>, ImageError> {
            let of_runs = needed()?.into_iter().map(|image| image.tree);
            Ok(self.list()?.into_iter().map(|record| record.tree).chain(of_runs).collect())
        };
        match self.store.collect(PATIENCE, wanted)? {
            Collected::Done(freed) => removed.bytes = freed.bytes,
            Collected::Busy => removed.later = true,
        }
        Ok(removed)
    }

    fn remove_damaged(&self) -> Result<(), ImageError> {
        for key in self.keys()? {
            let lock = self.lock_file(&key, "")?;
            let alone = self.flock(&lock, &key, FlockOperation::NonBlockingLockExclusive)?;
            let Some(_claim) = self.claim(&key)?.filter(|_| alone) else { continue };
            if matches!(self.read(&key), Err(ImageError::Workspace(WorkspaceError::Damaged { .. }))) {
                let place = self.place(&key);
                std::fs::remove_file(&place).map_err(ImageError::io(&place))?;
            }
        }
        Ok(())
    }

    /// What shows the packages of a run to a sandbox of this process.
    ///
    /// # Errors
    /// When they are gone.
    pub(crate) fn bind(&self, packages: &Packages) -> Result<Bind, ImageError> {
        Ok(Bind::new(self.show(&packages.image())?, PYTHON))
    }

    /// The files of a run's image, for sandboxes of this process: those that it was started with. They stay while
    /// the process lives. Waits for who is removing something at this moment.
    ///
    /// # Errors
    /// When they are gone.
    pub(crate) fn show(&self, image: &Image) -> Result<PathBuf, ImageError> {
        let tree = self.store.tree(&image.tree);
        if self.shown().contains_key(&image.tree) {
            return Ok(tree);
        }
        let pin = match self.store.pin(std::slice::from_ref(&image.tree)) {
            Ok(pin) => pin,
            Err(WorkspaceError::Missing { .. }) => return Err(gone(&image.key)),
            Err(error) => return Err(error.into()),
        };
        self.shown().insert(image.tree, pin);
        Ok(tree)
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Pin>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In which of these folders the packages of an image bring a program of this name.
    pub(super) fn program<'a>(&self, record: &Record, folders: &[&'a str], name: &str) -> Option<&'a str> {
        let is_name = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        let manifest = self.store.manifest(&record.tree).ok().filter(|_| is_name)?;
        folders.iter().copied().find(|folder| {
            let path = RelPath::from_bytes(format!("{folder}/{name}").as_bytes());
            let found = path.ok().and_then(|path| manifest.entries.get(&path));
            // A link may lead to where it does not on every host: to an interpreter, or to what a sandbox has.
            found.is_some_and(|entry| {
                matches!(entry.kind, workspace::Kind::File { .. } | workspace::Kind::Symlink { .. })
            })
        })
    }

    fn place(&self, key: &str) -> PathBuf {
        self.folder("made").join(format!("{key}.json"))
    }

    fn read(&self, key: &str) -> Result<Option<Record>, ImageError> {
        use std::io::Read as _;
        let place = self.place(key);
        let file = match File::open(&place) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(ImageError::io(&place))?,
        };
        let mut text = Vec::new();
        file.take(LIMIT).read_to_end(&mut text).map_err(ImageError::io(&place))?;
        let damaged = || WorkspaceError::Damaged { what: format!("image {key}") };
        let record: Record = serde_json::from_slice(&text).map_err(|_| damaged())?;
        // Its tree may have been taken away by hand: then it is as if it had never been built.
        Ok(Some(record).filter(|record| record.key == key && self.store.has(&record.tree)))
    }

    /// A key is a name that was made here, or came with a run that somebody brought along.
    fn lock_file(&self, key: &str, of: &str) -> Result<OwnedFd, ImageError> {
        if !is_key(key) {
            return Err(gone(key));
        }
        let path = self.folder("locks").join(format!("{key}{of}"));
        let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        file.map(OwnedFd::from).map_err(ImageError::io(&path))
    }
}

fn is_key(key: &str) -> bool {
    key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn gone(key: &str) -> ImageError {
    ImageError::Gone { key: key.chars().take(40).filter(|c| !c.is_control()).collect() }
}

/// A key that nobody else builds or removes.
#[derive(Debug)]
pub(super) struct Claim {
    _lock: OwnedFd,
}
