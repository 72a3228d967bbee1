//! The store on one SQLite file.
//!
//! Owns the [`SqliteStore`]: what is written goes through its queue to the writer's thread, what is read
//! is read on connections of its own. Opening a file twice, in one process or in several, is normal:
//! writers take turns by SQLite's lock, and everybody sees the last commit.

mod approval;
mod broken;
mod budget;
mod calls;
mod collect;
mod column;
mod content;
mod definition;
mod effect;
mod engine;
mod event;
mod fault;
mod group;
mod hold;
mod inbox;
mod key;
mod migrate;
mod open;
mod ports;
mod readers;
mod retention;
mod run;
mod schema;
mod slice;
mod standing;
mod timer;
mod turn;
mod tx;
mod wal;
mod write;
mod writer;

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use wflo_core::canonical::Digest;
use wflo_core::ports::store::{Batch, StoreError};

use self::fault::Fault;
use self::open::Place;
pub use self::open::{begin, make_data_dir};
use self::readers::Readers;
use self::turn::Turn;
use self::wal::Wal;
pub use self::wal::origin::{is_brought as has_brought_log, take as take_log};
use self::write::Writes;
use self::writer::{Answer, Job, Writer};
use crate::announced::Announced;
use crate::blob::{Adding, BlobStore};
use crate::cell::CellWriter;

/// How a store is run.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// How long another program's lock is waited for before [`StoreError::Locked`].
    pub lock_wait: Duration,
    /// Added to each flush, to see what a slower disk would do. For measurements.
    pub sync_delay: Duration,
    /// The most batches that share one flush.
    pub group_batches: usize,
    /// About the most bytes that share one flush.
    pub group_bytes: usize,
    /// Batches that may wait; further committers wait for room.
    pub queue: usize,
    /// Announced events that a slow subscriber may lag behind before it misses some.
    pub announced: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            lock_wait: Duration::from_secs(10),
            sync_delay: Duration::ZERO,
            group_batches: 1024,
            group_bytes: 8 << 20,
            queue: 1024,
            announced: 4096,
        }
    }
}

/// The store of one data directory. Dropping it commits what is queued and ends its threads.
pub struct SqliteStore {
    place: Place,
    blobs: BlobStore,
    readers: Readers,
    wait: Duration,
    queue: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    commits: watch::Receiver<u64>,
    recorded: broadcast::Sender<Announced>,
    ended: Arc<OnceLock<StoreError>>,
}

impl SqliteStore {
    /// Opens, or makes, the database at `location`: a path, or a `sqlite:` URL. Its folder is the data
    /// directory; it is made with mode 0700, the files with 0600.
    ///
    /// # Errors
    /// [`StoreError::Locked`] after `lock_wait`; [`StoreError::Corrupt`] when the file is damaged or
    /// belongs to another application, [`StoreError::Altered`] when it holds what wflo does not make,
    /// [`StoreError::TooNew`] (all leave it as it was);
    /// [`StoreError::DiskFull`]; [`StoreError::Failed`] when the folder cannot be written.
    pub fn open(location: impl AsRef<Path>, options: StoreOptions) -> Result<SqliteStore, StoreError> {
        let place = Place::parse(location.as_ref())?;
        let named = |fault: Fault| fault.named(&place.file);
        let mut conn = open::first(&place, options.lock_wait)?;
        // The writer waits by itself, within the same bound.
        conn.busy_timeout(Duration::ZERO).map_err(|error| named(error.into()))?;
        let wal = Wal::new(&place, &mut conn, options.lock_wait).map_err(named)?;
        let blobs = BlobStore::new(&place.dir);
        blobs.sweep();
        let (queue, jobs) = mpsc::channel(options.queue.max(1));
        let (counter, commits) = watch::channel(0);
        let recorded = broadcast::Sender::new(options.announced.max(1));
        let ended = Arc::new(OnceLock::new());
        let writer = Writer {
            conn,
            wal,
            turn: Turn::new(&place.file),
            blobs: blobs.clone(),
            path: place.file.clone(),
            wait: options.lock_wait,
            sync_delay: options.sync_delay,
            most_batches: options.group_batches.max(1),
            most_bytes: options.group_bytes,
            queue: jobs,
            commits: counter,
            recorded: recorded.clone(),
            ended: Arc::clone(&ended),
        };
        let thread = std::thread::Builder::new()
            .name("wflo-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| failed_thread(&error))?;
        let readers = Readers::new(place.clone(), options.lock_wait);
        Ok(SqliteStore {
            place,
            blobs,
            readers,
            wait: options.lock_wait,
            queue: Some(queue),
            writer: Some(thread),
            commits,
            recorded,
            ended,
        })
    }

    /// The folder that holds the database, `blobs/` and `engines/`.
    pub fn data_dir(&self) -> &Path {
        &self.place.dir
    }

    /// Counts the group commits of this process: changes right after each, before its committers go on.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.clone()
    }

    /// The events of the commits that this process begins from now on, in order within each run. Of a
    /// commit that is under way some may be missing: who wants all of them subscribes before it asks for
    /// the first. A receiver that lags too far behind is told how many it missed, and finds them in
    /// [`Store::events`]; so does one that is told of a large event.
    pub fn subscribe(&self) -> broadcast::Receiver<Announced> {
        self.recorded.subscribe()
    }

    /// Commits what is queued and ends the threads. Dropping the store does the same.
    pub fn close(self) {}

    /// Why there is no writer any more.
    fn gone(&self) -> StoreError {
        why(&self.ended)
    }

    /// Gives a batch its place in the writer's queue.
    async fn enqueue(&self, batch: Batch, posted: bool) -> Result<oneshot::Receiver<Answer>, StoreError> {
        let mut cells = CellWriter::default();
        let mut writes = Writes { posted, ..Writes::encode(batch, &mut cells)? };
        if !cells.pending.is_empty() {
            writes.adding = Some(self.keep(cells.pending).await?);
        }
        let (reply, answer) = oneshot::channel();
        let Some(queue) = &self.queue else { return Err(self.gone()) };
        queue.send(Job { writes, reply }).await.map_err(|_| self.gone())?;
        Ok(answer)
    }

    /// Keeps blobs; what is given is held until they are referred to.
    async fn keep(&self, pending: Vec<(Digest, Vec<u8>)>) -> Result<Adding, StoreError> {
        let blobs = self.blobs.clone();
        aside(move || CellWriter::flush(&pending, &blobs)).await
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("file", &self.place.file).finish_non_exhaustive()
    }
}

fn why(ended: &OnceLock<StoreError>) -> StoreError {
    ended.get().cloned().unwrap_or(StoreError::Closed)
}

/// Does what may take long without holding up the runtime, if there is one.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await.unwrap_or(Err(StoreError::Closed)),
        Err(_) => work(),
    }
}

fn failed_thread(error: &io::Error) -> StoreError {
    StoreError::Failed(format!("a thread could not be started: {error}"))
}
