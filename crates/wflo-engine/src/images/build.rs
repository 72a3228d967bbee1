//! Building an image of packages: in a sandbox, once, whoever asks for it at the same time.
//!
//! The order of things, and what a kill between two of them leaves:
//!
//! 1. the key's lock is taken alone; whoever comes later waits for it, and finds the image. Killed: it is free;
//! 2. a sandbox installs into a workspace that is in its memory. Killed: it ends with its launcher;
//! 3. what it wrote is sealed into the store, and pinned. Killed: contents that nothing refers to, removed by the
//!    next pass of `wflo sandbox images prune`;
//! 4. the record is written beside its place, made durable and renamed. Killed before: as 3; after: it is there;
//! 5. the image is held, for as long as it is needed, and the lock is let go.

mod installed;
mod network;
mod python;
mod system;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use wflo_core::error::Coded as _;
use wflo_core::error::Failure;
use wflo_core::size::{Bytes, MilliCpus, Millis};
use wflo_sandbox::workspace::{Bounds, Captured, Pin, capture};
use wflo_sandbox::{Bind, Launcher, Limits, Outcome, ProcessTree, Spec, Stdio, View};

use self::network::{Network, Sight};
use super::error::ImageError;
use super::shown::Shown;
use super::store::{Claim, Held, Images, Record};
use super::{Builder, Building, Progress};
use crate::sandboxed::pipe;

pub(super) use self::python::python;
pub(super) use self::system::system;

/// How long it may take.
const MINUTES: u64 = 60;
/// What it may use beside what it writes.
const MEMORY: u64 = 2 << 30;
/// How much of the machine's processors.
const CPUS: u64 = 2000;
/// The most of what it says that is kept, in bytes.
const KEPT: usize = 16 << 10;
/// So many of its last lines are shown where it fails.
const LAST_LINES: usize = 15;

/// Makes the image of `key` where it is wanted, or finds it made once nobody else does; whether it was made here.
async fn once(
    builder: &Builder,
    key: &str,
    building: Building,
    told: &mpsc::Sender<Progress>,
    make: impl AsyncFn() -> Result<(Record, Pin), ImageError>,
) -> Result<(Record, Held, bool), ImageError> {
    let images = &builder.images;
    let (before, mut built) = (images.record(key), false);
    loop {
        let claim = claim(images, key, told).await?;
        let now = images.record(key);
        // Whoever was waited for may have built it just now, or may have failed.
        let is_new = now != before;
        if now.is_none() || (building == Building::Again && !built && !is_new) {
            let _ = told.try_send(Progress::Begun);
            let (record, pin) = make().await?;
            images.publish(&record, pin)?;
            built = true;
        }
        // Nobody removes it before it is held: that takes the claim, too.
        let found = images.open(key).await?;
        drop(claim);
        if let Some((record, held)) = found {
            return Ok((record, held, built));
        }
    }
}

/// The key for oneself, after whoever has it.
async fn claim(images: &Images, key: &str, told: &mpsc::Sender<Progress>) -> Result<Claim, ImageError> {
    if let Some(claim) = images.claim(key)? {
        return Ok(claim);
    }
    let _ = told.try_send(Progress::Waiting);
    images.claim_after(key).await
}

/// What is done in a sandbox that writes an image.
struct Work<'a> {
    /// What is started, what it is given and what it reads; the rest is filled in.
    spec: Spec,
    /// Where what it writes is.
    target: &'a str,
    /// What may be written.
    disk: Bytes,
    /// Folders that are shown to it as steps see them.
    folders: Vec<PathBuf>,
    /// Files and folders that are shown to it as they are.
    binds: Vec<Bind>,
    /// What it may reach.
    rules: Vec<String>,
    sight: Sight,
    /// Whether of addresses that it says only scheme and host are told.
    shortens: bool,
}

/// How that ended.
struct Worked {
    outcome: Outcome,
    /// What it said last.
    said: String,
    /// Connections that were refused.
    refused: Vec<Failure>,
    sandbox: Arc<ProcessTree>,
    launcher: Launcher,
}

impl Work<'_> {
    /// Does it, and waits for its end. Whoever does not wait any more ends it.
    async fn run(self, builder: &Builder, told: &mpsc::Sender<Progress>) -> Result<Worked, ImageError> {
        let broken = |e: std::io::Error| ImageError::Broken(e.to_string());
        let (printed, printed_in) = pipe().map_err(broken)?;
        let mut spec = self.spec;
        spec.workspace =
            Some(View { lowers: vec![builder.images.folder("void")], target: self.target.into() });
        spec.cwd = Some(PathBuf::from("/tmp"));
        spec.egress_listener = true;
        // What is installed is counted as memory, too.
        spec.limits = Limits {
            memory: Some(Bytes(self.disk.0.saturating_add(MEMORY))),
            pids: Some(1024),
            disk: Some(self.disk),
            timeout: Some(Millis(MINUTES * 60_000)),
            cpus: Some(MilliCpus(CPUS)),
            ..Limits::default()
        };
        spec.stderr = Stdio::Fd(printed_in.try_clone().map_err(broken)?);
        spec.stdout = Stdio::Fd(printed_in);
        let (program, images) = (builder.launcher.clone(), Arc::clone(&builder.images));
        let (folders, binds, rules) = (self.folders, self.binds, builder.rules.clone());
        let launched = tokio::task::spawn_blocking(move || {
            let shown = Shown::of(&folders, &rules, images.store())?;
            spec.ro = shown.binds();
            spec.ro.extend(binds);
            let launcher = Launcher::start(&program).map_err(|e| ImageError::Failure(e.to_failure()))?;
            let sandbox = launcher.launch(spec).map_err(|e| ImageError::Failure(e.to_failure()))?;
            Ok::<_, ImageError>(((launcher, shown), Arc::new(sandbox)))
        });
        let ((launcher, shown), sandbox) =
            launched.await.map_err(|e| ImageError::Broken(e.to_string()))??;
        let network = Network::open(sandbox.take_egress_listener(), builder, &self.rules, &self.sight)?;
        let said = tokio::spawn(follow(printed, told.clone(), self.shortens));
        let waiting = Waited(Arc::clone(&sandbox));
        let awaited = Arc::clone(&sandbox);
        let exit = tokio::task::spawn_blocking(move || awaited.wait()).await;
        let exit = exit.map_err(|e| ImageError::Broken(e.to_string()))?;
        let exit = exit.map_err(|e| ImageError::Failure(e.to_failure()))?;
        drop((waiting, shown));
        let refused = network.close().await;
        let said = said.await.unwrap_or_default();
        Ok(Worked { outcome: exit.outcome, said, refused, sandbox, launcher })
    }
}

impl Worked {
    /// Why it has failed, whatever it does, if that is why.
    fn out_of_room(&self, what: &str, limit: Bytes) -> Option<ImageError> {
        let what = what.to_owned();
        let is_full = || self.said.contains("No space left on device") || self.said.contains("[Errno 28]");
        match self.outcome {
            Outcome::TimedOut => Some(ImageError::TooSlow { what, minutes: MINUTES }),
            Outcome::OutOfMemory => Some(ImageError::TooLarge { what, limit }),
            Outcome::Exited(0) => None,
            Outcome::Exited(_) if is_full() => Some(ImageError::TooLarge { what, limit }),
            _ => None,
        }
    }

    /// Seals what it wrote.
    async fn seal(self, images: &Arc<Images>, limit: Bytes) -> Result<Captured, ImageError> {
        let images = Arc::clone(images);
        let bounds = Bounds { bytes: limit.0, ..Bounds::default() };
        let Worked { sandbox, launcher, .. } = self;
        let captured = tokio::task::spawn_blocking(move || {
            let sealed = sandbox.upper().map(|upper| capture(upper, images.store(), &bounds)).transpose();
            drop((sandbox, launcher));
            sealed
        });
        let captured = captured.await.map_err(|e| ImageError::Broken(e.to_string()))??;
        let nothing = || ImageError::Broken("an installer ended well and has installed nothing".to_owned());
        captured.flatten().ok_or_else(nothing)
    }
}

/// Ends what was asked for when nobody waits for it any more.
struct Waited(Arc<ProcessTree>);

impl Drop for Waited {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

/// Tells what is printed, line by line, and gives the end of it. A program's own words: no control characters.
async fn follow(pipe: OwnedFd, told: mpsc::Sender<Progress>, shortens: bool) -> String {
    let Ok(mut pipe) = tokio::net::unix::pipe::Receiver::from_owned_fd(pipe) else { return String::new() };
    let (mut kept, mut line, mut buffer) = (String::new(), Vec::new(), vec![0_u8; 8 << 10]);
    while let Ok(read) = pipe.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        for byte in buffer.get(..read).unwrap_or_default() {
            match byte {
                b'\n' | b'\r' => end_line(&mut line, &mut kept, &told, shortens),
                byte if line.len() < 2_000 => line.push(*byte),
                _ => {}
            }
        }
    }
    end_line(&mut line, &mut kept, &told, shortens);
    kept
}

fn end_line(line: &mut Vec<u8>, kept: &mut String, told: &mpsc::Sender<Progress>, shortens: bool) {
    let text: String = String::from_utf8_lossy(line).chars().filter(|c| !c.is_control()).collect();
    line.clear();
    let text = if shortens { text.split(' ').map(without_path).collect::<Vec<_>>().join(" ") } else { text };
    if text.trim().is_empty() {
        return;
    }
    kept.push_str(text.trim_end());
    kept.push('\n');
    if kept.len() > 2 * KEPT {
        let from = kept.len() - KEPT;
        let from = (from..kept.len()).find(|at| kept.is_char_boundary(*at)).unwrap_or(0);
        kept.drain(..from);
    }
    // Who does not keep up is told less.
    let _ = told.try_send(Progress::Said(text.trim().to_owned()));
}

/// A word without what of an address may be secret: all but its scheme and host.
pub(super) fn without_path(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{}", if path.is_some_and(|path| !path.is_empty()) { "/…" } else { "" })
}

fn last_lines(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n")
}
