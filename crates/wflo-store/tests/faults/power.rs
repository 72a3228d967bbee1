//! A loss of power at every flush, and a disk that fails: nothing acknowledged is lost, nothing is torn.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::json;
use wflo_core::ports::store::{Op, Store as _, StoreError};
use wflo_store::{SqliteStore, StoreOptions};

use crate::child::{self, Running};
use crate::contract::ground::*;
use crate::disk::{self, Disk, Done, Fate};
use crate::ledger;

/// Images that are looked at, beside those of the chosen moments.
const IMAGES: usize = 96;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn open(folder: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(folder.join("data/wflo.db"), StoreOptions::default())
}

/// Where a flush costs nothing, if there is such a place: the record says what was flushed.
fn quick_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A small generator: a failure can be run again from the seed that it prints.
struct Chance(u64);

impl Chance {
    fn seeded() -> Chance {
        match std::env::var("WFLO_TEST_SEED") {
            Ok(seed) => Chance(seed.parse().unwrap()),
            Err(_) => Chance(u64::from(std::process::id()) | 1),
        }
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }
}

/// Calls, inputs that need a blob, and enough text that the log is copied into the database and begun
/// anew while calls go on.
async fn work(folder: &Path) -> Result<(), StoreError> {
    let store = open(folder)?;
    let budget = ledger::try_open_budget(&store).await?;
    child::tell(match folder.join("data/wflo.db-wal").exists() {
        true => "keeps a log",
        false => "keeps no log",
    });
    for round in 0..3_u32 {
        let mut run = run_record();
        run.inputs = json!({ "round": round, "large": "i".repeat(100_000 + round as usize) });
        commit(&store, acceptance(&run)).await?;
        child::tell(&format!("run {}", run.id));
        for n in 0..6 {
            ledger::call(&store, run.id, &budget, n, child::tell).await?;
        }
        for _ in 0..5 {
            let text = || wflo_core::event::Event {
                at: at(1),
                body: wflo_core::event::EventBody::Notice {
                    notice: "filler".into(),
                    message: "f".repeat(900_000),
                },
            };
            commit(&store, vec![Op::AppendEvents { run: run.id, events: vec![text()] }]).await?;
        }
        for n in 6..9 {
            ledger::call(&store, run.id, &budget, n, child::tell).await?;
        }
    }
    store.close();
    Ok(())
}

#[test]
#[ignore = "run in a process of its own by the tests below"]
fn child_works_on_a_watched_disk() {
    let Some(folder) = child::folder() else { return };
    if let Err(error) = runtime().block_on(work(&folder)) {
        child::tell(&format!("failed {error:?}"));
    }
}

/// What the child said before this moment of the record.
fn told(record: &[Done]) -> Vec<String> {
    let said = record.iter().filter_map(|done| match done {
        Done::Said(text) => Some(text.lines()),
        _ => None,
    });
    said.flatten().filter_map(|line| line.split_once("# ").map(|(_, told)| told.to_owned())).collect()
}

/// Proves what a process finds on `folder`: a sound database with all that was acknowledged.
fn check(runtime: &tokio::runtime::Runtime, folder: &Path, told: &[String], what: &str) {
    let store = open(folder).unwrap_or_else(|error| panic!("{what}: {error}"));
    runtime.block_on(async {
        // Before anything of it there is no budget yet.
        if told.iter().any(|line| line.starts_with("intent")) {
            ledger::check(&store, told).await;
        }
        for line in told {
            let Some(id) = line.strip_prefix("run ") else { continue };
            let run = store.run(id.parse().unwrap()).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            let run = run.unwrap_or_else(|| panic!("{what}: {line} was acknowledged"));
            let length = 100_000 + run.inputs["round"].as_u64().unwrap() as usize;
            assert_eq!(run.inputs["large"].as_str().map(str::len), Some(length), "{what}");
        }
        // Work goes on.
        let next = run_record();
        commit(&store, acceptance(&next)).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    });
    store.close();
    // Where the rollback journal of the very switch to a log came back beside that log, SQLite takes the
    // switch back in the file and goes on with the log all the same. The next to open it switches again.
    open(folder).unwrap_or_else(|error| panic!("{what}: again: {error}")).close();
    let database = Connection::open(folder.join("data/wflo.db")).unwrap();
    for (question, answer) in [("PRAGMA journal_mode", "wal"), ("PRAGMA integrity_check", "ok")] {
        let said: String = database.query_row(question, [], |row| row.get(0)).unwrap();
        assert_eq!(said, answer, "{what}");
    }
}

#[test]
fn a_loss_of_power_at_any_flush_loses_nothing_acknowledged() {
    let dir = quick_folder();
    let root = dir.path().canonicalize().unwrap().join("disk");
    std::fs::create_dir(&root).unwrap();
    let log = dir.path().join("log");
    let mut command = child::command("power::child_works_on_a_watched_disk", &root);
    disk::record(&mut command, &root, &log);
    let (said, passed) = Running::start(command).finish();
    assert!(passed && !said.iter().any(|line| line.starts_with("failed")), "{said:?}");
    let record = disk::read(&log);
    std::fs::remove_file(&log).unwrap();
    assert_eq!(told(&record), said, "the record is complete");

    // Moments: around each flush of the database itself (a checkpoint), and by chance around the others.
    let mut chance = Chance::seeded();
    println!("WFLO_TEST_SEED={}", chance.0);
    let is_database = |name: &Path| name.ends_with("wflo.db");
    let flushes: Vec<usize> =
        (0..record.len()).filter(|at| matches!(record[*at], Done::Flushed { .. })).collect();
    let checkpoints =
        flushes.iter().filter(|at| matches!(&record[**at], Done::Flushed { name, .. } if is_database(name)));
    let mut moments: Vec<(usize, Fate)> = Vec::new();
    for at in checkpoints.clone() {
        for fate in [Fate::Lost, Fate::Kept, Fate::Torn] {
            moments.extend([(*at, fate), (at + 1, fate)]);
        }
    }
    assert!(moments.len() > 2 * 6, "the log was copied into the database while work went on");
    for _ in 0..IMAGES {
        let at = flushes[chance.below(flushes.len())] + chance.below(2);
        let fate = [Fate::Lost, Fate::Kept, Fate::Torn, Fate::Torn][chance.below(4)];
        moments.push((at, fate));
    }
    for _ in 0..IMAGES / 4 {
        moments.push((chance.below(record.len()), Fate::Torn));
    }
    moments.sort_by_key(|(at, _)| *at);
    println!("{} operations, {} flushes, {} images", record.len(), flushes.len(), moments.len());

    let runtime = runtime();
    let (mut played, mut state) = (0, Disk::default());
    for (number, (at, fate)) in moments.into_iter().enumerate() {
        while played < at {
            state.play(&record[played]);
            played += 1;
        }
        let image: PathBuf = dir.path().join(format!("image-{number}"));
        std::fs::create_dir(&image).unwrap();
        state.image(&root, &image, fate, &mut || chance.next().is_multiple_of(2));
        let what = format!("power lost before operation {at} ({:?}), {fate:?}", short(record.get(at)));
        check(&runtime, &image, &told(&record[..at]), &what);
        std::fs::remove_dir_all(&image).unwrap();
    }
}

fn short(done: Option<&Done>) -> String {
    format!("{done:?}").chars().take(120).collect()
}

/// A flush or a write that fails, at each place: the error is named, and what was acknowledged stays.
#[test]
fn a_disk_that_fails_is_named_and_loses_nothing_acknowledged() {
    let mut chance = Chance::seeded();
    println!("WFLO_TEST_SEED={}", chance.0);
    let runtime = runtime();
    for (op, most) in [("sync", 60), ("write", 4_000)] {
        // Each of the first, when the database is made, and then some.
        let (mut named, mut at) = (0, 1);
        while at < most {
            let dir = quick_folder();
            let root = dir.path().canonicalize().unwrap();
            let mut command = child::command("power::child_works_on_a_watched_disk", &root);
            disk::fail(&mut command, &root, &format!("{op}:{at}:5"));
            let (said, _) = Running::start(command).finish();
            assert!(!said.iter().any(|line| line == "keeps no log"), "{op} {at}");
            if let Some(error) = said.iter().find(|line| line.starts_with("failed")) {
                // The index of the log could not grow: that is taken for a full disk.
                assert!(error.contains("Failed(") || error.contains("DiskFull"), "{op} {at}: {error}");
                named += 1;
            }
            let what = format!("{op} {at} failed; {:?}", said.last());
            check(&runtime, &root, &said, &what);
            at += if at < 10 { 1 } else { 1 + chance.below(most / 6) };
        }
        assert!(named > 4, "{op}: {named} faults were seen");
    }
}
