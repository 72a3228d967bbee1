//! How fast the store commits, beside what the disk under it can do, in one run.
//!
//!     cargo run --release -p wflo-store --example commit_rate [FOLDER] [SECONDS]
//!
//! A step is one batch of two events and the run's row. The floor is a loop of 4 KiB writes over an
//! allocated file with `fdatasync` after each. Floor and one committer take turns in short slices, so
//! that a disk that changes its pace changes it for both.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;
use wflo_core::canonical::Digest;
use wflo_core::event::{Event, EventBody};
use wflo_core::id::{EngineId, RunId};
use wflo_core::machine::Changes;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Batch, Fence, Op, Store};
use wflo_core::run::{RunOptions, RunRecord, RunStatus};
use wflo_store::{SqliteStore, StoreOptions};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().map_or_else(|| PathBuf::from("."), PathBuf::from);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(4.0);
    let dir = tempfile::tempdir_in(parent).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let span = Duration::from_secs_f64(seconds);

    println!("| what | rate | ratio to the floor |");
    println!("|---|---|---|");
    for delay in [Duration::ZERO, Duration::from_millis(2)] {
        let suffix = if delay.is_zero() { String::new() } else { format!(", {delay:?} added to each flush") };
        let options = StoreOptions { sync_delay: delay, ..StoreOptions::default() };
        let store =
            Arc::new(SqliteStore::open(dir.path().join(format!("{delay:?}/wflo.db")), options).unwrap());
        let (mut floor, mut lone) = (Rate::default(), Rate::default());
        // Past the start, where the log is not yet allocated: a process that lives pays that once.
        runtime.block_on(steps(&store, 1, Duration::from_millis(200)));
        for _ in 0..10 {
            floor.add(flushes(dir.path(), span / 10, delay));
            lone.add(runtime.block_on(steps(&store, 1, span / 10)));
        }
        println!("| write + fdatasync of 4 KiB{suffix} | {:.0}/s | 1 |", floor.per_second());
        print(&format!("steps, 1 committer{suffix}"), &lone, &floor);
        for committers in [16, 64, 256] {
            let rate = runtime.block_on(steps(&store, committers, span));
            let mut total = Rate::default();
            total.add(rate);
            print(&format!("steps, {committers} committers{suffix}"), &total, &floor);
        }
        println!("| asking whether anything changed{suffix} | {:.1} µs | |", runtime.block_on(polls(&store)));
    }
}

fn print(what: &str, rate: &Rate, floor: &Rate) {
    println!("| {what} | {:.0}/s | {:.2} |", rate.per_second(), rate.per_second() / floor.per_second());
}

#[derive(Default)]
struct Rate {
    count: u64,
    spent: Duration,
}

impl Rate {
    fn add(&mut self, (count, spent): (u64, Duration)) {
        self.count += count;
        self.spent += spent;
    }

    fn per_second(&self) -> f64 {
        self.count as f64 / self.spent.as_secs_f64()
    }
}

/// The disk's own rate: one write and one flush after another, over space that exists already.
fn flushes(dir: &Path, span: Duration, delay: Duration) -> (u64, Duration) {
    const SLOTS: u64 = 1024;
    let path = dir.join("floor");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
    if file.metadata().unwrap().len() == 0 {
        file.write_all_at(&vec![0; (SLOTS * 4096) as usize], 0).unwrap();
        file.sync_all().unwrap();
    }
    let (page, start, mut count) = ([7_u8; 4096], Instant::now(), 0);
    while start.elapsed() < span {
        file.write_all_at(&page, (count % SLOTS) * 4096).unwrap();
        file.sync_data().unwrap();
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        count += 1;
    }
    (count, start.elapsed())
}

/// Workflows of ten steps, one after another, by `committers` at once.
async fn steps(store: &Arc<SqliteStore>, committers: usize, span: Duration) -> (u64, Duration) {
    let start = Instant::now();
    let tasks: Vec<_> = (0..committers)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let mut count = 0;
                while start.elapsed() < span {
                    count += workflow(&store, start, span).await;
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await.unwrap();
    }
    (count, start.elapsed())
}

async fn workflow(store: &SqliteStore, start: Instant, span: Duration) -> u64 {
    let run = record();
    let accept = vec![
        Op::PutDefinition { digest: "bench".to_owned(), definition: json!({"name": "bench"}) },
        Op::CreateRun { run: Box::new(run.clone()), definition: "bench".to_owned() },
        Op::AppendEvents { run: run.id, events: vec![event(EventBody::RunRunning {})] },
    ];
    store.commit(Batch { fence: None, ops: accept }).await.unwrap();
    let fence = Some(Fence { run: run.id, epoch: 1 });
    // The acceptance is a commit too, and is counted as one.
    let mut count = 1;
    for n in 0..10 {
        if start.elapsed() >= span {
            break;
        }
        let status = if n == 9 { RunStatus::Completed } else { RunStatus::Running };
        let ops = vec![
            Op::AppendEvents { run: run.id, events: step_events(n) },
            Op::SetRun { run: run.id, status, outputs: None, error: None, at: Timestamp::now() },
        ];
        store.commit(Batch { fence, ops }).await.unwrap();
        count += 1;
    }
    count
}

fn step_events(n: u32) -> Vec<Event> {
    let step = format!("step_{n}");
    vec![
        event(EventBody::StepSucceeded {
            step: step.clone(),
            generation: 1,
            output: json!({"rows": n}),
            changes: Changes::default(),
            cost_usd: NanoUsd::ZERO,
            layer: None,
        }),
        event(EventBody::StepStarted { step, generation: 1, attempt: 1, epoch: 1 }),
    ]
}

fn event(body: EventBody) -> Event {
    Event { at: Timestamp::now(), body }
}

fn record() -> RunRecord {
    let id = RunId::from_uuid(uuid::Uuid::now_v7());
    let now = Timestamp::now();
    RunRecord {
        id,
        workflow: "bench".to_owned(),
        version: Digest::of_bytes(b"version"),
        label: None,
        code: Digest::of_bytes(b"code"),
        inputs: json!({}),
        options: RunOptions::default(),
        status: RunStatus::Running,
        outputs: None,
        error: None,
        retried_from: None,
        budget_key: id.to_string(),
        trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
        lease_epoch: 1,
        engine: Some(EngineId::from_uuid(uuid::Uuid::now_v7())),
        created_at: now,
        updated_at: now,
        finished_at: None,
    }
}

/// Microseconds that one `change_counter` takes.
async fn polls(store: &SqliteStore) -> f64 {
    let (start, asked) = (Instant::now(), 20_000_u32);
    for _ in 0..asked {
        store.change_counter().await.unwrap();
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(asked)
}
