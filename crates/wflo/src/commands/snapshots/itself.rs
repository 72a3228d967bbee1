//! `[snapshots]` by itself: files of runs go after a run has ended, without anybody waiting for it.
//!
//! A process of its own does it, so that neither the run nor the command that drove it takes longer; a lock says that
//! one is at it, and the time of the lock's file when the last one was. What it does is what `wflo snapshots prune`
//! does, within bounds:
//!
//! 1. the lock is taken, the time set; crash: nothing happens for a while, then the next run's end begins another;
//! 2. one run after the other is looked at, as by hand: never does one go that is undecided, needed or read. Before
//!    each look a file says at which run this is; crash: the next one goes on behind it, so that nothing that takes
//!    long or stays keeps others from being looked at;
//! 3. for each that goes one commit takes back its list of trees and says so in its events; crash: its files are
//!    garbage, and its events say that they went;
//! 4. trees that no run needs any more are collected; crash: any later collection takes the rest.
//!
//! **Architecture Invariant:** no command waits for this, and nothing of a run depends on it.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustix::fs::FlockOperation;
use rustix::process::{Resource, Rlimit};
use wflo_core::id::RunId;
use wflo_core::ports::clock::Clock as _;
use wflo_core::size::Millis;
use wflo_engine::retention::{self, FilesPass, FilesSelection, Looked};

use crate::commands::{Context, freed, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::size;
use crate::session::Session;
use crate::settings::Snapshots;

/// Between two of these.
const PAUSE: Duration = Duration::from_secs(600);
/// So many runs lose their files in one.
const MOST: usize = 100;
/// So many are looked at.
const LOOKED: usize = 2_000;
/// The most time of a processor that one takes, in seconds; then the kernel ends it.
const CPU: u64 = 120;
/// How much others go before it.
const NICE: i32 = 19;

/// After a run: begins one in a process of its own where the settings ask for it and it is time. What keeps it from
/// beginning is no error of the run's.
pub(crate) fn begin(session: &Session<'_>) {
    let settings = &session.settings;
    if !settings.snapshots.acts_by_itself() || !is_time(session, modified(session)) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let paths = [&settings.project.root, &settings.data_dir].map(std::path::absolute);
    let [Ok(root), Ok(data_dir)] = paths else { return };
    let mut command = Command::new(program);
    command
        .arg("--project")
        .arg(root)
        .arg("--data-dir")
        .arg(data_dir)
        .args(["snapshots", "prune", "--by-itself"])
        // It stays for a while: no folder of the caller's is in use by that, and no pipe or lock held open.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    wflo_sandbox::inherit_nothing(&mut command);
    if let Err(error) = command.spawn() {
        tracing::debug!(%error, "old files of runs are not freed now");
    }
}

fn place(session: &Session<'_>) -> std::path::PathBuf {
    session.settings.data_dir.join("snapshots.pruned")
}

fn modified(session: &Session<'_>) -> Option<SystemTime> {
    std::fs::metadata(place(session)).and_then(|meta| meta.modified()).ok()
}

/// Whether the last one, if there was one, is long enough ago. A clock that was set back is no reason to wait.
fn is_time(session: &Session<'_>, last: Option<SystemTime>) -> bool {
    let now = SystemTime::from(session.clock.now());
    let ago = last.and_then(|last| now.duration_since(last).ok());
    ago.is_none_or(|ago| ago >= PAUSE)
}

/// In that process.
pub(super) async fn run(context: &Context<'_>) -> Result<Exit, CommandError> {
    // It fails only for a leader of a group: closing the terminal does not end it then, either.
    let _ = rustix::process::setsid();
    let _ = rustix::process::nice(NICE);
    let limit = Rlimit { current: Some(CPU), maximum: Some(CPU) };
    let _ = rustix::process::setrlimit(Resource::Cpu, limit);
    let Some(session) = pick::session(context)? else { return Ok(Exit::Success) };
    let Some(_alone) = turn(&session) else { return Ok(Exit::Success) };
    let set = session.settings.snapshots;
    let project = &session.settings.project.root;
    let workspaces = freed::workspaces(&session.settings, project)?;
    let selection = selection(&set, &session);
    let begun = FilesPass::begin(session.port(), &workspaces, project, session.storage(), &selection).await;
    let mut pass = begun.map_err(CommandError::engine)?;
    let at = session.settings.data_dir.join("snapshots.looked");
    let stopped = std::fs::read_to_string(&at).ok().and_then(|run| run.parse::<RunId>().ok());
    if let Some(run) = stopped {
        pass.behind(run);
    }
    let (mut looked, mut removed) = (0, 0);
    while looked < LOOKED && removed < MOST {
        let Some(record) = pass.next_wanted() else {
            let _none = std::fs::remove_file(&at);
            break;
        };
        looked += 1;
        // Where it cannot be said the next one begins at the oldest.
        let _said = std::fs::write(&at, record.id.to_string());
        let Looked::Goes(losing) = pass.look_at(record).await.map_err(CommandError::engine)? else {
            continue;
        };
        removed += 1;
        let (run, said) = (losing.record.id, said(&set, losing.bytes));
        let (store, clock) = (session.store.as_ref(), session.clock.as_ref());
        let gone = retention::remove_files_saying(store, clock, run, said).await;
        gone.map_err(CommandError::engine)?;
    }
    freed::trees(&session, project).await?;
    Ok(Exit::Success)
}

/// The lock, if nobody has it and it is time; then it says that it was now.
fn turn(session: &Session<'_>) -> Option<File> {
    let file = File::options().create(true).append(true).open(place(session)).ok()?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    // One that has just been made was never had: it is not empty once somebody has.
    match file.metadata().ok()?.len() {
        0 => std::io::Write::write_all(&mut &file, b"1").ok()?,
        _ if !is_time(session, modified(session)) => return None,
        _ => {}
    }
    file.set_modified(SystemTime::from(session.clock.now())).ok()?;
    Some(file)
}

fn selection(set: &Snapshots, session: &Session<'_>) -> FilesSelection {
    let ended_before = set.older_than.map(|Millis(age)| {
        let ago = jiff::SignedDuration::from_millis(i64::try_from(age).unwrap_or(i64::MAX));
        session.clock.now().checked_sub(ago).unwrap_or(Timestamp::MIN)
    });
    FilesSelection {
        ended_before,
        max_bytes: set.max_size.map(|most| most.0),
        keep: usize::try_from(set.keep_last.unwrap_or(0)).unwrap_or(usize::MAX),
    }
}

/// For the run's events.
fn said(set: &Snapshots, bytes: u64) -> String {
    let age = set.older_than.map(|age| format!("older_than = {age}"));
    let most = set.max_size.map(|most| format!("max_size = {most}"));
    let rules: Vec<String> = age.into_iter().chain(most).collect();
    format!("its files were freed ({}): [snapshots] in wflo.toml says {}", size(bytes), rules.join(", "))
}
