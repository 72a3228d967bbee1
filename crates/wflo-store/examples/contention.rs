//! What a process waits that commits now and then, while another keeps the writer busy.
//!
//!     cargo run --release -p wflo-store --example contention [FOLDER]
//!
//! Prints the time of one commit and of opening, reading and closing, alone and beside a process with
//! 64 committers.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use wflo_core::id::EngineId;
use wflo_core::ports::store::{Batch, Op, RunFilter, Store};
use wflo_store::{SqliteStore, StoreOptions};

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let [hog, file, delay] = arguments.as_slice()
        && hog == "hog"
    {
        let sync_delay = Duration::from_millis(delay.parse().unwrap());
        return runtime
            .block_on(keep_busy(Path::new(file), StoreOptions { sync_delay, ..StoreOptions::default() }));
    }
    let parent = arguments.first().map_or_else(|| PathBuf::from("."), PathBuf::from);
    let dir = tempfile::tempdir_in(parent).unwrap();
    let file = dir.path().join("wflo.db");
    println!("| what | p50 | p99 | most |");
    println!("|---|---|---|---|");
    measure("alone", &file, &runtime);
    for delay in ["0", "2", "10"] {
        let mut hog = Command::new(std::env::current_exe().unwrap())
            .arg("hog")
            .arg(&file)
            .arg(delay)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // One byte says that it is at work; the end of its input ends it.
        hog.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        measure(&format!("beside a busy process whose flush takes {delay} ms more"), &file, &runtime);
        drop(hog.stdin.take());
        hog.wait().unwrap();
    }
}

fn measure(how: &str, file: &Path, runtime: &tokio::runtime::Runtime) {
    let times = |action: &mut dyn FnMut()| {
        let mut times: Vec<Duration> = (0..300)
            .map(|_| {
                let start = Instant::now();
                action();
                start.elapsed()
            })
            .collect();
        times.sort_unstable();
        times
    };
    let print = |what: &str, times: &[Duration]| {
        println!("| {what}, {how} | {:.2?} | {:.2?} | {:.2?} |", times[150], times[297], times[299]);
    };
    let store = SqliteStore::open(file, StoreOptions::default()).unwrap();
    print("one commit", &times(&mut || runtime.block_on(one(&store))));
    print(
        "open, list, close",
        &times(&mut || {
            let store = SqliteStore::open(file, StoreOptions::default()).unwrap();
            runtime.block_on(store.runs(RunFilter { limit: 20, ..RunFilter::default() })).unwrap();
        }),
    );
    drop(store);
    let lone = times(&mut || drop(SqliteStore::open(file, StoreOptions::default()).unwrap()));
    print("open, close", &lone);
}

async fn one(store: &SqliteStore) {
    let id = EngineId::from_uuid(uuid::Uuid::now_v7());
    let ops = vec![Op::PutEngine { id, pid: 1, at: Timestamp::now() }];
    store.commit(Batch { fence: None, ops }).await.unwrap();
}

async fn keep_busy(file: &Path, options: StoreOptions) {
    let store = Arc::new(SqliteStore::open(file, options).unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    one(&store).await;
                }
            })
        })
        .collect();
    println!();
    let wait = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    wait.await.unwrap().unwrap();
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
}
