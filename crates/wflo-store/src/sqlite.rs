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
mod readers;
mod retention;
mod run;
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

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use wflo_core::approval::{Approval, Purpose};
use wflo_core::budget::{Budget, BudgetChange, Hold, Standing};
use wflo_core::canonical::Digest;
use wflo_core::cost::Spent;
use wflo_core::effect::{CancelledWait, EffectKey, EffectRecord};
use wflo_core::event::Recorded;
use wflo_core::id::{ApprovalId, BudgetId, EngineId, HoldId, RunId};
use wflo_core::key::VirtualKey;
use wflo_core::money::NanoUsd;
use wflo_core::ports::BoxFuture;
use wflo_core::ports::store::{
    ApprovalFilter, Batch, EngineRow, InboxMessage, Leftover, OpResult, Receipt, Reclaimed, RunFilter,
    SliceStore, Store, StoreError, Timer,
};
use wflo_core::run::RunRecord;
use wflo_core::slice::{CallRecord, CallsLine, Slice, Spender};

use self::fault::Fault;
use self::open::Place;
use self::readers::Readers;
use self::turn::Turn;
use self::wal::Wal;
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
    /// belongs to another application, [`StoreError::TooNew`] (both leave it as it was);
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

/// Reads are short and are done where they are asked for.
macro_rules! read {
    ($self:ident, |$conn:ident| $read:expr) => {
        Box::pin(async move { $self.readers.read(|$conn| $read) })
    };
}

impl Store for SqliteStore {
    /// As the port says. A caller that stops waiting does not take its batch back.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<OpResult>, StoreError>> {
        Box::pin(async move {
            let answer = self.enqueue(batch, false).await?;
            answer.await.unwrap_or_else(|_| Err(self.gone()))
        })
    }

    fn post(&self, batch: Batch) -> BoxFuture<'_, Result<Receipt, StoreError>> {
        Box::pin(async move {
            if batch.fence.is_none() {
                return Err(StoreError::Failed("a batch without a fence was posted".to_owned()));
            }
            let answer = self.enqueue(batch, true).await?;
            let ended = Arc::clone(&self.ended);
            let receipt: Receipt = Box::pin(async move { answer.await.unwrap_or_else(|_| Err(why(&ended))) });
            Ok(receipt)
        })
    }

    fn run(&self, id: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        read!(self, |conn| run::get(conn, &self.blobs, id))
    }

    fn definition(&self, run: RunId) -> BoxFuture<'_, Result<Value, StoreError>> {
        read!(self, |conn| definition::of_run(conn, &self.blobs, run))
    }

    fn runs(&self, filter: RunFilter) -> BoxFuture<'_, Result<Vec<RunRecord>, StoreError>> {
        read!(self, |conn| run::list(conn, &self.blobs, &filter))
    }

    fn events(&self, run: RunId, after: u64, limit: u32) -> BoxFuture<'_, Result<Vec<Recorded>, StoreError>> {
        read!(self, |conn| event::after(conn, run, after, limit))
    }

    fn machine_events(&self, run: RunId) -> BoxFuture<'_, Result<Vec<Recorded>, StoreError>> {
        read!(self, |conn| event::of_machine(conn, run))
    }

    fn effects(
        &self,
        run: RunId,
        step: String,
        generation: u32,
    ) -> BoxFuture<'_, Result<Vec<EffectRecord>, StoreError>> {
        read!(self, |conn| effect::of_generation(conn, &self.blobs, run, &step, generation))
    }

    fn cancelled_waits(
        &self,
        run: RunId,
        step: String,
        generation: u32,
    ) -> BoxFuture<'_, Result<Vec<CancelledWait>, StoreError>> {
        read!(self, |conn| effect::cancelled_waits(conn, run, &step, generation))
    }

    fn run_effects(&self, run: RunId) -> BoxFuture<'_, Result<Vec<EffectRecord>, StoreError>> {
        read!(self, |conn| effect::of_run(conn, &self.blobs, run))
    }

    fn effect(&self, run: RunId, key: EffectKey) -> BoxFuture<'_, Result<Option<EffectRecord>, StoreError>> {
        read!(self, |conn| effect::get(conn, &self.blobs, run, &key))
    }

    fn journaled(&self, run: RunId, least: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        read!(self, |conn| effect::bytes_of_run(conn, run, least))
    }

    fn approval(&self, id: ApprovalId) -> BoxFuture<'_, Result<Option<Approval>, StoreError>> {
        read!(self, |conn| approval::get(conn, &self.blobs, id))
    }

    fn approvals(&self, filter: ApprovalFilter) -> BoxFuture<'_, Result<Vec<Approval>, StoreError>> {
        read!(self, |conn| approval::list(conn, &self.blobs, &filter))
    }

    fn approvals_about(
        &self,
        run: RunId,
        purpose: Purpose,
    ) -> BoxFuture<'_, Result<Vec<Approval>, StoreError>> {
        read!(self, |conn| approval::about(conn, &self.blobs, run, &purpose))
    }

    fn budgets(&self, keys: Vec<String>) -> BoxFuture<'_, Result<Vec<Budget>, StoreError>> {
        read!(self, |conn| budget::with_keys(conn, &keys))
    }

    fn all_budgets(&self) -> BoxFuture<'_, Result<Vec<Budget>, StoreError>> {
        read!(self, |conn| budget::all(conn))
    }

    fn standing_budgets(&self) -> BoxFuture<'_, Result<Vec<Standing>, StoreError>> {
        read!(self, |conn| standing::all(conn))
    }

    fn budget_changes(&self) -> BoxFuture<'_, Result<Vec<BudgetChange>, StoreError>> {
        read!(self, |conn| standing::changes(conn))
    }

    fn hold(&self, id: HoldId) -> BoxFuture<'_, Result<Option<Hold>, StoreError>> {
        read!(self, |conn| hold::get(conn, id))
    }

    fn open_holds(&self, run: RunId) -> BoxFuture<'_, Result<Vec<Hold>, StoreError>> {
        read!(self, |conn| hold::of_run(conn, run))
    }

    fn run_cost(&self, run: RunId) -> BoxFuture<'_, Result<NanoUsd, StoreError>> {
        read!(self, |conn| effect::cost_of_run(conn, run))
    }

    fn step_cost(&self, run: RunId, step: String) -> BoxFuture<'_, Result<NanoUsd, StoreError>> {
        read!(self, |conn| effect::cost_of_step(conn, run, &step))
    }

    fn inbox(&self, engine: EngineId) -> BoxFuture<'_, Result<Vec<InboxMessage>, StoreError>> {
        read!(self, |conn| inbox::of_engine(conn, &self.blobs, engine))
    }

    fn run_inbox(&self, run: RunId) -> BoxFuture<'_, Result<Vec<InboxMessage>, StoreError>> {
        read!(self, |conn| inbox::of_run(conn, &self.blobs, run))
    }

    fn timers(
        &self,
        engine: Option<EngineId>,
        run: Option<RunId>,
    ) -> BoxFuture<'_, Result<Vec<Timer>, StoreError>> {
        read!(self, |conn| timer::list(conn, engine, run))
    }

    fn engines(&self) -> BoxFuture<'_, Result<Vec<EngineRow>, StoreError>> {
        read!(self, |conn| engine::list(conn))
    }

    fn change_counter(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { self.readers.version() })
    }

    fn overruns(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        read!(self, |conn| hold::overruns(conn))
    }

    fn trees(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        read!(self, |conn| retention::trees(conn))
    }

    fn spent(&self) -> BoxFuture<'_, Result<Vec<Spent>, StoreError>> {
        read!(self, |conn| retention::spent(conn))
    }

    fn leftovers(&self) -> BoxFuture<'_, Result<Vec<Leftover>, StoreError>> {
        read!(self, |conn| retention::leftovers(conn))
    }

    fn collect(&self, now: Timestamp) -> BoxFuture<'_, Result<Reclaimed, StoreError>> {
        let (place, blobs, wait) = (self.place.clone(), self.blobs.clone(), self.wait);
        Box::pin(aside(move || collect::run(&place, &blobs, wait, now)))
    }
}

impl SliceStore for SqliteStore {
    fn spenders(&self) -> BoxFuture<'_, Result<Vec<Spender>, StoreError>> {
        read!(self, |conn| slice::spenders(conn))
    }

    fn slices(&self) -> BoxFuture<'_, Result<Vec<Slice>, StoreError>> {
        read!(self, |conn| slice::slices(conn))
    }

    fn budgets_by_id(&self, ids: Vec<BudgetId>) -> BoxFuture<'_, Result<Vec<Budget>, StoreError>> {
        read!(self, |conn| budget::with_ids(conn, &ids))
    }

    fn calls_lines(&self) -> BoxFuture<'_, Result<Vec<CallsLine>, StoreError>> {
        read!(self, |conn| calls::lines(conn))
    }

    fn uncertain_calls(&self) -> BoxFuture<'_, Result<Vec<(EngineId, CallRecord)>, StoreError>> {
        read!(self, |conn| calls::uncertain(conn))
    }

    fn calls_of(&self, spender: EngineId) -> BoxFuture<'_, Result<Vec<CallRecord>, StoreError>> {
        read!(self, |conn| calls::of(conn, spender))
    }

    fn keys(&self) -> BoxFuture<'_, Result<Vec<VirtualKey>, StoreError>> {
        read!(self, |conn| key::list(conn))
    }
}
