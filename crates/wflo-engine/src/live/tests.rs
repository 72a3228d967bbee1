//! What is known of sandboxes while they run, and what stays of them.

use std::net::TcpListener;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use wflo_core::id::EngineId;
use wflo_sandbox::workspace::{Captured, WorkspaceError};
use wflo_sandbox::{Enforcement, Error, Exit};
use wflo_store::lock::EngineLock;

use super::*;

/// A sandbox that says what it is told to say, once.
#[derive(Debug, Default)]
struct Told {
    says: Mutex<Option<Usage>>,
    looks: AtomicU64,
}

impl Sandbox for Told {
    fn workspace(&self) -> &Path {
        Path::new("/")
    }
    fn enforcement(&self) -> &[Enforcement] {
        &[
            Enforcement { limit: "memory", level: Level::Supervised, by: "pid 1" },
            Enforcement { limit: "pids", level: Level::Kernel, by: "an rlimit" },
            Enforcement { limit: "timeout", level: Level::Supervised, by: "a timer" },
        ]
    }
    fn take_listener(&self) -> Option<TcpListener> {
        None
    }
    fn take_egress_listener(&self) -> Option<TcpListener> {
        None
    }
    fn status_fd(&self) -> BorrowedFd<'_> {
        rustix::stdio::stdin()
    }
    fn try_wait(&self) -> Result<Option<Exit>, Error> {
        Ok(None)
    }
    fn sample(&self) -> Option<Usage> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.says.lock().unwrap().take()
    }
    fn kill(&self) -> Result<Exit, Error> {
        Err(Error::LauncherGone)
    }
    fn changes(&self, _: &wflo_sandbox::workspace::Bounds) -> Result<Option<Captured>, WorkspaceError> {
        Ok(None)
    }
}

fn whose(step: &str) -> Whose {
    let run = RunId::from_uuid(uuid::Uuid::from_u128(7));
    Whose { run, workflow: "w".to_owned(), step: step.to_owned(), generation: 1, attempt: 1 }
}

struct One {
    told: Arc<Told>,
    used: Used,
    _sandbox: Arc<dyn Sandbox>,
    entered: Entered,
}

fn enter(live: &Arc<LiveSandboxes>, step: &str) -> One {
    let (told, used) = (Arc::<Told>::default(), Used::default());
    let sandbox = Arc::clone(&told) as Arc<dyn Sandbox>;
    let entered = live.enter(whose(step), &sandbox, used.clone());
    One { told, used, _sandbox: sandbox, entered }
}

fn usage(memory: u64, tasks: u64, cpu_ms: u64) -> Usage {
    Usage {
        memory: Some(memory),
        tasks: Some(tasks),
        cpu: Some(Duration::from_millis(cpu_ms)),
        ..Usage::default()
    }
}

#[test]
fn the_last_look_and_the_peaks_are_kept() {
    let live = Arc::<LiveSandboxes>::default();
    let one = enter(&live, "a");
    for says in [Some(usage(500, 9, 10)), None, Some(usage(100, 2, 30))] {
        *one.told.says.lock().unwrap() = says;
        live.sample();
    }
    let [shown] = live.all().try_into().unwrap();
    assert_eq!((shown.memory_bytes, shown.tasks), (Some(100), Some(2)));
    let peaks = (shown.resources.memory_peak_bytes, shown.resources.tasks_peak, shown.resources.cpu_ms);
    assert_eq!(peaks, (Some(500), Some(9), Some(30)));
    assert_eq!(shown.resources, one.used.resources(), "what the record of the attempt will say");
    assert_eq!(shown.supervised, [Supervised { limit: "memory".into(), by: "pid 1".into() }]);
}

#[test]
fn sums_never_shrink_when_a_sandbox_ends() {
    let live = Arc::<LiveSandboxes>::default();
    let (one, other) = (enter(&live, "a"), enter(&live, "a"));
    for (of, cpu) in [(&one, 10), (&other, 20)] {
        *of.told.says.lock().unwrap() = Some(usage(5, 1, cpu));
    }
    live.sample();
    let key = ("w".to_owned(), "a".to_owned());
    let sum = live.sums()[&key];
    assert_eq!((sum.begun, sum.running, sum.memory, sum.tasks), (2, 2, Some(10), Some(2)));
    assert_eq!(sum.took.cpu_ms, Some(30));
    // What its end says of it is more than the last look did.
    one.used.reach(usage(0, 0, 15).most(Usage::default()));
    drop(one.entered);
    let sum = live.sums()[&key];
    assert_eq!((sum.begun, sum.running, sum.memory, sum.took.cpu_ms), (2, 1, Some(5), Some(35)));
    drop(other.entered);
    let sum = live.sums()[&key];
    assert_eq!((sum.begun, sum.running, sum.memory, sum.took.cpu_ms), (2, 0, None, Some(35)));
}

/// Counts how often whoever waits is woken.
#[derive(Default)]
struct Woken(AtomicU64);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn where_nothing_runs_nothing_wakes_the_reader_but_a_beginning() {
    let live = Arc::<LiveSandboxes>::default();
    let mut looking = Box::pin(Arc::clone(&live).look());
    let woken = Arc::<Woken>::default();
    let waker = std::task::Waker::from(Arc::clone(&woken));
    let mut poll = || looking.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending();
    assert!(poll());
    // One that is over before the reader comes to it leaves it waiting too, without a timer.
    drop(enter(&live, "a").entered);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(poll() && poll());
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    let one = enter(&live, "b");
    assert_eq!(woken.0.load(Ordering::SeqCst), 2);
    drop(looking);
    let looking = tokio::spawn(Arc::clone(&live).look());
    let next = enter(&live, "c");
    while one.told.looks.load(Ordering::SeqCst) == 0 || next.told.looks.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    looking.abort();
}

#[tokio::test]
async fn another_process_is_told_and_names_of_dead_engines_go() {
    let dir = tempfile::tempdir().unwrap();
    let engine = |n: u128| EngineId::from_uuid(uuid::Uuid::from_u128(n));
    // A path far longer than a socket's address.
    let data = dir.path().join("d".repeat(120));
    let lock = EngineLock::acquire(&data, engine(1), std::process::id()).unwrap();
    let dead = data.join("engines").join(format!("{}.sock", engine(2)));
    std::fs::write(&dead, "").unwrap();
    let outside = Outside::open(&data, engine(1)).unwrap();
    assert!(!dead.exists());
    let live = Arc::<LiveSandboxes>::default();
    let one = enter(&live, "a");
    *one.told.says.lock().unwrap() = Some(usage(5, 1, 20));
    live.sample();
    let answering = tokio::spawn(outside.answer(Arc::clone(&live)));
    let asked = data.clone();
    let told = tokio::task::spawn_blocking(move || ask(&asked, engine(1))).await.unwrap();
    assert_eq!(told, live.all());
    assert_eq!(told.len(), 1);
    answering.abort();
    let _ = answering.await;
    assert!(!data.join("engines").join(format!("{}.sock", engine(1))).exists(), "it goes with its engine");
    assert!(ask(&data, engine(1)).is_empty(), "of nobody nothing is known");
    drop(lock);
}
