//! The files of a tool: sealed with its result, put back when a resume comes to it again.
//!
//! The sequence, with what a crash between two lines leaves behind:
//! 1. the intent is committed; crash: the command runs again (a guarded one is ambiguous);
//! 2. what the step has changed so far is sealed, then the command runs; crash: as above;
//! 3. what it has changed by now is sealed as well; crash: as above, and two layers lie in the store;
//! 4. the result is committed together with the names of both layers; crash: a resume comes to the
//!    tool, is told to put its files back, and gets its result once they are there.
//!
//! Put back is what changed between 2 and 3, at the place in the order of answers at which the step got
//! the result. Everything else in the workspace is computed again by the step's own code. A path that is
//! by then neither as it was at 2 nor as it was at 3 was written by other code of the step while the
//! tool ran: that is refused by name, because which of the two was meant is not known.
//!
//! Tools of parallel branches that overlap share 2, which is then what the first of them found: what the
//! others have half done by the end of one belongs to its layer, and to its place.

use std::collections::{BTreeSet, HashMap};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use wflo_core::effect::EffectRecord;
use wflo_core::error::{Code, Failure};
use wflo_core::ports::store::Op;
use wflo_sandbox::workspace::{Attributes, Entry, Kind, Manifest, RelPath, open_in_tree};

use super::{Broker, Unanswered};
use crate::error::EngineError;
use crate::executor::Layer;
use crate::outbox::Outbox;
use crate::protocol::{EffectCall, EffectError, ToRunner};
use crate::sandboxed::LiveFiles;

/// Files that cannot be put back.
const CONFLICT: Code = Code(3026);
/// The most of a file in one frame, in bytes.
const PART: usize = 1 << 20;

/// The workspaces of tools that run, and what was put back so far, in one attempt.
#[derive(Default)]
pub(crate) struct ToolFiles {
    /// Set once there is a sandbox.
    pub(crate) live: std::sync::OnceLock<LiveFiles>,
    /// How many tools run now, and what the first of them found.
    running: Mutex<(usize, Arc<OnceCell<Option<Layer>>>)>,
    /// Contents that were put back; none for what was removed.
    restored: Mutex<Restored>,
}

type Restored = HashMap<RelPath, Option<Kind>>;

/// A tool that runs, or is about to.
pub(super) struct RunningTool<'a> {
    files: &'a ToolFiles,
    found: Arc<OnceCell<Option<Layer>>>,
}

/// What is committed with a tool's result, and held until then.
pub(super) struct SealedTool {
    /// For its row: null when nothing changed.
    pub(super) attributes: Value,
    /// That the run needs both layers.
    pub(super) ops: Vec<Op>,
    #[expect(dead_code, reason = "its pin is held, not read")]
    after: Option<Layer>,
}

impl ToolFiles {
    fn start(&self) -> RunningTool<'_> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.0 == 0 {
            running.1 = Arc::default();
        }
        running.0 += 1;
        RunningTool { files: self, found: Arc::clone(&running.1) }
    }
}

impl Drop for RunningTool<'_> {
    fn drop(&mut self) {
        self.files.running.lock().unwrap_or_else(PoisonError::into_inner).0 -= 1;
    }
}

/// What the runner does in its workspace, in this order.
#[derive(Debug, PartialEq, Eq)]
enum Put {
    Remove(RelPath),
    Folder(RelPath, u32, Attributes),
    File(RelPath, u32, Attributes),
    Link(RelPath, Vec<u8>),
    /// The last word on a folder that could not be filled otherwise.
    Mode(RelPath, u32),
}

impl Put {
    /// The path whose content it says, or removes.
    fn content(&self) -> Option<&RelPath> {
        match self {
            Put::Remove(path) | Put::File(path, ..) | Put::Link(path, _) => Some(path),
            Put::Folder(..) | Put::Mode(..) => None,
        }
    }
}

impl Broker {
    /// Begins to watch what a tool changes.
    pub(super) async fn before_tool(&self) -> Result<RunningTool<'_>, EngineError> {
        let tool = self.files.start();
        tool.found.get_or_try_init(|| self.seal()).await?;
        Ok(tool)
    }

    /// Seals what has changed by a tool's end. The tool is let go when the result is committed: until
    /// then it keeps what was sealed before.
    pub(super) async fn after_tool(&self, tool: &RunningTool<'_>) -> Result<SealedTool, EngineError> {
        let after = self.seal().await?;
        let id = |left: &Option<Layer>| left.as_ref().map(|left| left.id.clone());
        let (before, id) = (tool.found.get().and_then(id), id(&after));
        let mut sealed = SealedTool { after, attributes: Value::Null, ops: Vec::new() };
        if before != id {
            sealed.attributes = json!({ "files": { "before": before, "after": id } });
            let trees = before.into_iter().chain(id).collect();
            sealed.ops.push(Op::KeepTrees { run: self.attempt.run, trees });
        }
        Ok(sealed)
    }

    /// Seals what the step has changed in its workspace so far; none when that is nothing.
    async fn seal(&self) -> Result<Option<Layer>, EngineError> {
        let Some(files) = self.files.live.get() else { return Ok(None) };
        let Some(captured) = files.changes().await? else { return Ok(None) };
        let whose = format!("a tool of step `{}`", self.attempt.step);
        self.journal.note_left_out(&whose, captured.left_out()).await?;
        Ok(Some(Layer { id: captured.layer.id.to_string(), pin: captured.pin }))
    }

    /// Puts the files of a recorded tool back through the runner, which waits for it.
    pub(super) async fn put_back(
        &self,
        call: &EffectCall,
        row: &EffectRecord,
        sink: &Outbox,
    ) -> Result<Result<(), EffectError>, Unanswered> {
        let Some(files) = self.files.live.get() else { return Ok(Ok(())) };
        let layer = |name: &str| row.attributes["files"][name].as_str().map(str::to_owned);
        let (before, after) = (files.layer(layer("before")).await?, files.layer(layer("after")).await?);
        let now = files.changes().await?.map(|captured| captured.layer.manifest).unwrap_or_default();
        let planned = {
            let mut restored = self.files.restored.lock().unwrap_or_else(PoisonError::into_inner);
            let planned = plan(&before.manifest, &after.manifest, &now, &restored);
            let put = planned.iter().flatten().filter_map(Put::content);
            restored.extend(put.map(|path| {
                let entry = after.manifest.entries.get(path).filter(|e| e.kind != Kind::Whiteout);
                (path.clone(), entry.map(|e| e.kind.clone()))
            }));
            planned
        };
        let puts = match planned {
            Ok(puts) => puts,
            Err(path) => return Ok(Err(conflict(row, &path))),
        };
        let (path, seq, sink) = (call.path.clone(), call.seq, sink.clone());
        let runtime = tokio::runtime::Handle::current();
        let send = move || -> std::io::Result<()> {
            let mut index = 0;
            for put in &puts {
                for delta in deltas(put, &after.tree)? {
                    let chunk = ToRunner::EffectChunk { path: path.clone(), seq, index, delta: delta? };
                    if runtime.block_on(sink.part(chunk)).is_err() {
                        return Ok(());
                    }
                    index += 1;
                }
            }
            Ok(())
        };
        let sent = tokio::task::spawn_blocking(send).await;
        let unreadable = |e: &dyn std::fmt::Display| EngineError::Unreadable(format!("a sealed file: {e}"));
        sent.map_err(|e| unreadable(&e))?.map_err(|e| unreadable(&e))?;
        Ok(Ok(()))
    }
}

/// What makes `now` hold everything that changed from `before` to `after`; the path of the first
/// conflict otherwise.
fn plan(
    before: &Manifest,
    after: &Manifest,
    now: &Manifest,
    restored: &Restored,
) -> Result<Vec<Put>, RelPath> {
    let mut changed: BTreeSet<&RelPath> = before.entries.keys().chain(after.entries.keys()).collect();
    changed.retain(|path| before.entries.get(*path) != after.entries.get(*path));
    // A folder that was made anew is emptied first, so that all that is in it is put there again.
    let anew = |path: &&RelPath| {
        let opaque = |tree: &Manifest| tree.entries.get(*path).is_some_and(is_opaque);
        opaque(after) && !opaque(now)
    };
    let emptied: Vec<&RelPath> = changed.iter().copied().filter(anew).collect();
    let is_emptied = |path: &RelPath| emptied.iter().any(|folder| path != *folder && path.is_within(folder));
    changed.extend(after.entries.keys().filter(|path| is_emptied(path)));
    let (mut removed, mut folders, mut contents, mut modes) = (vec![], vec![], vec![], vec![]);
    for path in changed {
        let [was, then, is] = [before, after, now].map(|tree| tree.entries.get(path));
        if is == then && !is_emptied(path) {
            continue;
        }
        let kind = |entry: Option<&Entry>| entry.map(|e| e.kind.clone());
        let is_folder = |entry: Option<&Entry>| entry.is_some_and(Entry::is_dir);
        // Folders come and go with what is in them.
        let files_only = ![was, then, is].into_iter().any(is_folder);
        let known = |is: Option<Kind>| {
            let put =
                restored.get(path).is_some_and(|put| *put == is.clone().filter(|k| *k != Kind::Whiteout));
            put || is == kind(was) || is == kind(then)
        };
        if files_only && !known(kind(is)) {
            return Err(path.clone());
        }
        if is_folder(is) && (!is_folder(then) || emptied.contains(&path)) {
            let stranger = |(inner, entry): &(&RelPath, &Entry)| {
                inner.is_within(path) && !entry.is_dir() && !before.entries.contains_key(*inner)
            };
            if let Some((inner, _)) = now.entries.iter().find(stranger) {
                return Err(inner.clone());
            }
        }
        let has = then.map(|entry| entry.attributes.clone()).unwrap_or_default();
        match then.map(|entry| (&entry.kind, entry.mode)) {
            None | Some((Kind::Whiteout, _)) => removed.push(Put::Remove(path.clone())),
            Some((Kind::Dir { opaque }, mode)) => {
                if *opaque && emptied.contains(&path) || is.is_some() && !is_folder(is) {
                    removed.push(Put::Remove(path.clone()));
                }
                folders.push(Put::Folder(path.clone(), mode | 0o700, has));
                if mode & 0o700 != 0o700 {
                    modes.push(Put::Mode(path.clone(), mode));
                }
            }
            Some((kind, mode)) => {
                if is_folder(is) {
                    removed.push(Put::Remove(path.clone()));
                }
                contents.push(match kind {
                    Kind::Symlink { target } => Put::Link(path.clone(), target.0.clone()),
                    _ => Put::File(path.clone(), mode, has),
                });
            }
        }
    }
    // Innermost first: a folder may lose its own permission to be filled.
    modes.reverse();
    Ok([removed, folders, contents, modes].into_iter().flatten().collect())
}

fn is_opaque(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::Dir { opaque: true })
}

type Deltas = Box<dyn Iterator<Item = std::io::Result<Value>>>;

/// A put as it is said to the runner.
fn deltas(put: &Put, tree: &Path) -> std::io::Result<Deltas> {
    let one = |value: Value| -> Deltas { Box::new(std::iter::once(Ok(value))) };
    Ok(match put {
        Put::Remove(path) => one(json!({ "remove": name(path.as_bytes()) })),
        Put::Folder(path, mode, has) => {
            one(with(json!({ "folder": name(path.as_bytes()), "mode": mode }), has))
        }
        Put::Mode(path, mode) => one(json!({ "mode_of": name(path.as_bytes()), "mode": mode })),
        Put::Link(path, target) => one(json!({ "link": name(path.as_bytes()), "target": name(target) })),
        Put::File(path, mode, has) => {
            let has = has.clone();
            let mut file = open_in_tree(tree, path)?;
            let found = rustix::fs::fstat(&file).map_err(std::io::Error::from)?;
            let modified = i128::from(found.st_mtime) * 1_000_000_000 + i128::from(found.st_mtime_nsec);
            let (shown, mode, mut over) = (name(path.as_bytes()), *mode, false);
            Box::new(std::iter::from_fn(move || {
                if over {
                    return None;
                }
                let mut part = Vec::new();
                if let Err(e) = file.by_ref().take(PART as u64).read_to_end(&mut part) {
                    over = true;
                    return Some(Err(e));
                }
                over = part.len() < PART;
                let data = base64::engine::general_purpose::STANDARD.encode(&part);
                let mut delta = json!({ "file": shown, "data": { "$bytes": data } });
                if over {
                    delta["mode"] = json!(mode);
                    delta["modified_ns"] = json!(modified.to_string());
                    delta = with(delta, &has);
                }
                Some(Ok(delta))
            }))
        }
    })
}

/// With its extended attributes, if it has any.
fn with(mut delta: Value, has: &Attributes) -> Value {
    if !has.is_empty() {
        let bytes =
            |bytes: &[u8]| json!({ "$bytes": base64::engine::general_purpose::STANDARD.encode(bytes) });
        let all: Vec<Value> = has.iter().map(|(key, value)| json!([name(key), bytes(value)])).collect();
        delta["attributes"] = json!(all);
    }
    delta
}

/// A file's name: text, or bytes where it is none.
fn name(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "$bytes": base64::engine::general_purpose::STANDARD.encode(bytes) }),
    }
}

fn conflict(row: &EffectRecord, path: &RelPath) -> EffectError {
    let command: String = row.request.field("argv").to_string().chars().take(120).collect();
    EffectError {
        code: CONFLICT.to_string(),
        kind: "replay_mismatch".to_owned(),
        message: format!(
            "the files that the tool {command} wrote cannot be put back: `{path}` was also written by other code of the step while it ran"
        ),
        hint: Some(
            "let no other branch of the step write where a tool writes, or begin again with `wflo runs retry ID`"
                .to_owned(),
        ),
    }
}

/// A layer of a tool, opened.
pub(crate) struct Opened {
    pub(crate) manifest: Manifest,
    /// Where its files lie.
    pub(crate) tree: PathBuf,
}

/// A name that is none: the journal was tampered with or is from another build.
pub(crate) fn bad_layer(id: &str) -> EngineError {
    let message = format!("`{id}` names no sealed layer");
    EngineError::Failure(Failure::new(CONFLICT, message))
}

#[cfg(test)]
mod tests;
