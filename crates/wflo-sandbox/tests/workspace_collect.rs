//! Collecting: what nothing refers to goes, and nothing else, whatever others do meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "workspace_support/project.rs"]
mod project;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use project::Project;
use wflo_sandbox::workspace::{
    Bounds, Captured, Collected, Digest, Freed, Layer, Sealed, Store, View, WorkspaceError, capture,
};

const PATIENCE: Duration = Duration::from_secs(120);

fn collect(store: &Store, wanted: &[Digest]) -> Freed {
    match store.collect(PATIENCE, || Ok::<_, WorkspaceError>(wanted.to_vec())).unwrap() {
        Collected::Done(freed) => freed,
        Collected::Busy => panic!("nobody else stores anything"),
    }
}

/// What a step that wrote `content` leaves.
fn layer(store: &Store, content: &str) -> Captured {
    let upper = tempfile::tempdir().unwrap();
    fs::write(upper.path().join("f"), content).unwrap();
    let dir = fs::File::open(upper.path()).unwrap();
    capture(dir.as_fd(), store, &Bounds::default()).unwrap().unwrap()
}

#[test]
fn what_is_named_stays_and_the_rest_goes() {
    let project = Project::new();
    project.write("f", "first".repeat(10_000));
    let first = project.seal().id;
    project.write("f", "second");
    let second = project.seal().id;
    let kept = layer(&project.store, "kept").layer.id;
    let gone = layer(&project.store, "gone").layer.id;
    let freed = collect(&project.store, &[second, kept]);
    // The first seal's tree and the layer; both seals share the empty rest.
    assert_eq!(freed.trees, 2);
    assert!(freed.bytes >= 50_000, "{freed:?}");
    assert!(matches!(Sealed::open(&project.store, &first), Err(WorkspaceError::Missing { .. })));
    assert!(matches!(Layer::open(&project.store, &gone), Err(WorkspaceError::Missing { .. })));
    View::open(&project.store, &second, &[kept]).unwrap().verify(&project.store).unwrap();
    assert_eq!(collect(&project.store, &[second, kept]), Freed::default(), "a second pass finds nothing");
    project.write("f", "first".repeat(10_000));
    let again = project.seal();
    assert_eq!(again.id, first, "what was collected can be sealed again");
    View::open(&project.store, &again.id, &[]).unwrap().verify(&project.store).unwrap();
}

#[test]
fn what_goes_is_known_before_it_goes() {
    let project = Project::new();
    project.write("shared", "shared".repeat(30_000));
    project.write("own", "first".repeat(20_000));
    let first = project.seal().id;
    project.write("own", "second".repeat(10_000));
    let second = project.seal().id;
    // A hole takes nothing, and a content that both have counts once.
    let upper = tempfile::tempdir().unwrap();
    fs::File::create(upper.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
    let dir = fs::File::open(upper.path()).unwrap();
    let hole = capture(dir.as_fd(), &project.store, &Bounds::default()).unwrap().unwrap().layer.id;
    let mut usage = project.store.usage();
    let mut bytes = Vec::new();
    for needed in [&[first][..], &[second, hole], &[second], &[Digest::of(b"gone")]] {
        usage.add(needed).unwrap();
        bytes.push(usage.bytes());
    }
    assert!(bytes[0] >= 280_000 && bytes[1] - bytes[0] >= 60_000, "{bytes:?}");
    assert!(bytes[1] < 600_000 && bytes[1..].iter().all(|b| *b == bytes[1]), "{bytes:?}");
    assert_eq!(usage.remove(&[second]).unwrap(), 0, "it is needed once more");
    let freed = usage.remove(&[first]).unwrap();
    assert_eq!(collect(&project.store, &[second, hole]).bytes, freed);
    let freed = usage.remove(&[second, hole]).unwrap();
    assert_eq!(usage.bytes(), 0);
    assert_eq!(collect(&project.store, &[]).bytes, freed);
}

#[test]
fn what_nothing_refers_to_yet_is_held_by_its_pin() {
    let project = Project::new();
    project.write("f", "f");
    let (sealed, captured) = (project.seal(), layer(&project.store, "new"));
    assert_eq!(collect(&project.store, &[]).trees, 0);
    View::open(&project.store, &sealed.id, &[captured.layer.id]).unwrap().verify(&project.store).unwrap();
    let (seal, layer) = (sealed.id, captured.layer.id);
    drop(captured.pin);
    let again = project.store.pin(&[layer]).unwrap();
    drop(sealed);
    assert!(collect(&project.store, &[]).trees > 0);
    assert!(Sealed::open(&project.store, &seal).is_err());
    Layer::open(&project.store, &layer).unwrap();
    drop(again);
    collect(&project.store, &[]);
    assert!(matches!(project.store.pin(&[layer]), Err(WorkspaceError::Missing { .. })));
}

#[test]
fn a_pass_that_is_kept_out_removes_nothing() {
    let project = Project::new();
    project.write("f", "f");
    let seal = project.seal().id;
    let adding = fs::File::open(project.store.root().join("lock")).unwrap();
    rustix::fs::flock(&adding, rustix::fs::FlockOperation::LockShared).unwrap();
    let asked = AtomicBool::new(false);
    let wanted = || {
        asked.store(true, Ordering::Relaxed);
        Ok::<_, WorkspaceError>(Vec::new())
    };
    let outcome = project.store.collect(Duration::from_millis(1), wanted).unwrap();
    assert_eq!(outcome, Collected::Busy);
    assert!(!asked.load(Ordering::Relaxed));
    Sealed::open(&project.store, &seal).unwrap();
}

#[test]
fn a_pass_whose_records_cannot_be_read_removes_nothing() {
    let project = Project::new();
    project.write("f", "f");
    let seal = project.seal().id;
    let unreadable = || Err(WorkspaceError::Damaged { what: "the records".to_owned() });
    assert!(project.store.collect(PATIENCE, unreadable).is_err());
    Sealed::open(&project.store, &seal).unwrap();
}

#[test]
fn what_the_dead_left_half_done_is_gone_after_the_next_pass() {
    let project = Project::new();
    project.write("f", "f");
    let seal = project.seal().id;
    let tmp = project.store.root().join("tmp");
    fs::create_dir_all(tmp.join("dead-x/tree/deep")).unwrap();
    fs::write(tmp.join("dead-x/tree/deep/f"), "f").unwrap();
    fs::write(tmp.join("half-written"), "f").unwrap();
    collect(&project.store, &[seal]);
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
}

#[test]
fn owners_are_named_once() {
    let project = Project::new();
    let (one, other) = (PathBuf::from("/data/one.db"), PathBuf::from("/data/other.db"));
    for path in [&one, &one, &other] {
        project.store.claim_for(path).unwrap();
    }
    let mut owners = project.store.owners().unwrap();
    owners.sort();
    assert_eq!(owners, [one.clone(), other.clone()]);
    fs::remove_file(project.store.owner(&one)).unwrap();
    assert_eq!(project.store.owners().unwrap(), [other]);
}

/// Submissions, steps and retries of several processes (threads here: each opens its locks itself)
/// with two collectors over one store. The map is the database: what it names must be there and whole.
#[test]
fn nothing_that_is_referred_to_is_ever_collected() {
    const WRITERS: u64 = 4;
    const ROUNDS: u64 = 60;
    const PASSES: u64 = 30;
    let project = Project::new();
    let root = project.store.root().to_owned();
    let records: Mutex<BTreeMap<u64, Vec<Digest>>> = Mutex::default();
    let (next, done, freed) = (AtomicU64::new(0), AtomicBool::new(false), AtomicU64::new(0));
    let (passes, deadline) = (AtomicU64::new(0), Instant::now() + Duration::from_secs(600));
    let write = |writer: u64| {
        let store = Store::open(&root).unwrap();
        for round in 0.. {
            // On until enough passes met enough writes.
            if round >= ROUNDS && passes.load(Ordering::Relaxed) >= PASSES {
                break;
            }
            assert!(Instant::now() < deadline, "the passes are kept out for ever");
            // Few contents over many runs: most of what is stored was stored, or collected, before.
            let text = format!("{}", (writer * 5 + round) % 11);
            let captured = layer(&store, &text);
            std::thread::yield_now();
            let mut layers = vec![captured.layer.id];
            let id = next.fetch_add(1, Ordering::Relaxed);
            if round % 2 == 0 {
                let other = records.lock().unwrap().values().next().cloned();
                // A retry: another run's layers, unless that run was removed meanwhile.
                if let Some(other) = other
                    && let Ok(pin) = store.pin(&other)
                {
                    layers.extend(other);
                    records.lock().unwrap().insert(id, layers.clone());
                    drop(pin);
                }
            }
            records.lock().unwrap().insert(id, layers.clone());
            drop(captured);
            for layer in &layers {
                store.verify(layer).unwrap();
            }
            if round % 30 != 0 {
                records.lock().unwrap().remove(&id);
            }
        }
    };
    let sweep = || {
        let store = Store::open(&root).unwrap();
        while !done.load(Ordering::Relaxed) {
            let wanted =
                || Ok::<_, WorkspaceError>(records.lock().unwrap().values().flatten().copied().collect());
            if let Collected::Done(done) = store.collect(Duration::from_millis(50), wanted).unwrap() {
                freed.fetch_add(done.trees, Ordering::Relaxed);
                passes.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        let sweepers = [scope.spawn(sweep), scope.spawn(sweep)];
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        let written: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        for sweeper in sweepers {
            sweeper.join().unwrap();
        }
        written.into_iter().for_each(|writer| writer.unwrap());
    });
    let kept: Vec<Digest> = records.lock().unwrap().values().flatten().copied().collect();
    assert!(!kept.is_empty());
    collect(&project.store, &kept);
    for tree in &kept {
        project.store.verify(tree).unwrap();
    }
    assert!(freed.load(Ordering::Relaxed) > 0, "the passes met something to collect");
    collect(&project.store, &[]);
    assert_eq!(fs::read_dir(root.join("trees")).unwrap().count(), 0);
}
