//! Files that a retry takes over and that have been changed in the project since they were made.
//!
//! They are taken over all the same: who mends a step that failed does not want the others paid again. But a
//! change that was made to such a file meanwhile is not lost by that: the new run keeps how those paths stood
//! when its files were made, and `apply` and `diff` judge them by it. Whoever retries is told which they are.

use std::collections::BTreeMap;

use wflo_core::error::Coded as _;
use wflo_core::event::{Event, EventBody};
use wflo_core::ports::store::Op;
use wflo_core::run::RunRecord;
use wflo_sandbox::workspace::{self, Digest, RelPath, TakenOver, View, WorkspaceError};

use crate::changes::launch_of;
use crate::error::EngineError;
use crate::runtime::Runtime;
use crate::submit::Prepared;

/// So many paths of a step are named.
const NAMED: usize = 8;

/// Files of a step that the project has otherwise than when it made them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outdated {
    /// The step.
    pub step: String,
    /// The paths that are named.
    pub paths: Vec<String>,
    /// How many more there are.
    pub others: usize,
}

impl Outdated {
    fn of(step: &str, paths: &[RelPath]) -> Self {
        let named: Vec<String> = paths.iter().take(NAMED).map(ToString::to_string).collect();
        Outdated { step: step.to_owned(), others: paths.len() - named.len(), paths: named }
    }

    /// What was changed, as `a.txt, b.txt and 3 more`.
    pub fn said(&self) -> String {
        let more = if self.others > 0 { format!(" and {} more", self.others) } else { String::new() };
        format!("{}{more}", self.paths.join(", "))
    }
}

/// What is put back of a step that goes on half-way: its workspace before and after.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) step: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl Runtime {
    /// Keeps with the new run on what its taken over files were made, and says which have been changed since. The
    /// layers are held already.
    pub(super) async fn keep_earlier(
        &self,
        prepared: &mut Prepared,
        old: &RunRecord,
        parts: Vec<Part>,
    ) -> Result<Vec<Outdated>, EngineError> {
        let carried = prepared.record.options.carried.iter();
        let layers: Vec<(String, String)> =
            carried.filter_map(|done| Some((done.step.clone(), done.layer.clone()?))).collect();
        if layers.is_empty() && parts.is_empty() {
            return Ok(Vec::new());
        }
        let (before, mut launch) = (launch_of(old)?, launch_of(&prepared.record)?);
        let id = |id: &String| -> Result<Digest, EngineError> {
            let unreadable = |e: &dyn std::fmt::Display| {
                EngineError::Unreadable(format!("a stored tree has no readable id: {e}"))
            };
            id.parse().map_err(|e| unreadable(&e))
        };
        let (sealed, earlier) = (id(&before.sealed)?, before.earlier.as_ref().map(id).transpose()?);
        let (now, mut taken, mut steps) = (id(&launch.sealed)?, TakenOver::default(), BTreeMap::new());
        for (step, layer) in layers {
            let layer = id(&layer)?;
            taken.layers.push(layer);
            steps.insert(layer, step);
        }
        for Part { step, before, after } in parts {
            let (before, after) = (before.as_ref().map(id).transpose()?, after.as_ref().map(id).transpose()?);
            taken.parts.push((before, after));
            steps.extend(after.map(|after| (after, step)));
        }
        let store = self.sandboxes.store.clone();
        let look = move || {
            let (old, _held) = View::hold(&store, &sealed, &[])?;
            let old = old.begun_on(&store, earlier.as_ref())?;
            workspace::outdated(&store, &old, &View::open(&store, &now, &[])?, &taken)
        };
        let found = tokio::task::spawn_blocking(look).await;
        let found = found.map_err(|e| EngineError::Unreadable(e.to_string()))?;
        let failed = |e: WorkspaceError| EngineError::Failure(e.to_failure());
        let Some(workspace::Outdated { earlier, pin, files }) = found.map_err(failed)? else {
            return Ok(Vec::new());
        };
        prepared.pins.push(pin);
        prepared.trees.push(earlier.to_string());
        launch.earlier = Some(earlier.to_string());
        let unreadable = |e: serde_json::Error| EngineError::Unreadable(e.to_string());
        prepared.record.options.launch = serde_json::to_value(&launch).map_err(unreadable)?;
        let mut of_steps: BTreeMap<&str, Vec<RelPath>> = BTreeMap::new();
        for (path, layers) in files {
            let step = layers.last().and_then(|layer| steps.get(layer));
            of_steps.entry(step.map_or("", String::as_str)).or_default().push(path);
        }
        Ok(of_steps.into_iter().map(|(step, paths)| Outdated::of(step, &paths)).collect())
    }

    /// The same in the new run's record.
    pub(super) fn notice_of_outdated(&self, prepared: &Prepared, outdated: &[Outdated]) -> Option<Op> {
        if outdated.is_empty() {
            return None;
        }
        let said = outdated.iter().map(|one| {
            format!(
                "step {} made its files before these were changed in the project: {}",
                one.step,
                one.said()
            )
        });
        let said = said.collect::<Vec<_>>().join("; ");
        let message =
            format!("{said}; later steps see them as they were left, and an apply takes them for conflicts");
        let body = EventBody::Notice { notice: "workspace.outdated".to_owned(), message };
        let event = Event { at: self.engine.clock().now(), body };
        Some(Op::AppendEvents { run: prepared.record.id, events: vec![event] })
    }
}
