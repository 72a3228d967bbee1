//! What the steps of a run that goes on take at this moment, as the process that drives it says.

use std::time::Duration;

use serde_json::{Value, json};
use wflo_core::run::RunRecord;
use wflo_engine::live::{self, Live};

use crate::plain;
use crate::printer::{Paint, duration, size};
use crate::session::Session;

/// The sandboxes of the run; none where nobody says anything, as of a run that has ended.
pub(super) async fn of(session: &Session<'_>, record: &RunRecord) -> Vec<Live> {
    let Some(engine) = record.engine.filter(|_| !record.status.is_terminal()) else { return Vec::new() };
    let data_dir = session.settings.data_dir.clone();
    let told = tokio::task::spawn_blocking(move || live::ask(&data_dir, engine)).await;
    let own = |live: &Live| live.run_id == record.id;
    told.unwrap_or_default().into_iter().filter(own).collect()
}

/// Adds to RUN what its steps take.
pub(super) fn add(run: &mut Value, sandboxes: &[Live]) {
    let Some(steps) = run.get_mut("steps").and_then(Value::as_array_mut) else { return };
    for step in steps {
        let name = step.get("name").and_then(Value::as_str).unwrap_or_default();
        let Some(live) = sandboxes.iter().find(|live| live.step == name) else { continue };
        let mut now = json!(live.resources);
        if let Some(now) = now.as_object_mut() {
            now.extend(live.memory_bytes.map(|bytes| ("memory_bytes".to_owned(), json!(bytes))));
            now.extend(live.tasks.map(|tasks| ("tasks".to_owned(), json!(tasks))));
            now.insert("supervised".to_owned(), json!(live.supervised));
        }
        if let Some(step) = step.as_object_mut() {
            step.insert("now".to_owned(), now);
        }
    }
}

/// `0.8 s of a core, 41.2 MB now, 12 tasks`.
pub(super) fn shown(live: &Live) -> String {
    let cpu = live.resources.cpu_ms.map(|ms| format!("{} of a core", duration(Duration::from_millis(ms))));
    let memory = live.memory_bytes.map(|bytes| format!("{} now", size(bytes)));
    let tasks = live.tasks.map(|tasks| format!("{tasks} task{}", if tasks == 1 { "" } else { "s" }));
    [cpu, memory, tasks].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A line for the limits that the kernel does not keep here.
pub(super) fn supervised(paint: Paint, sandboxes: &[Live]) -> Option<String> {
    let mut found: Vec<String> = sandboxes
        .iter()
        .flat_map(|live| &live.supervised)
        .map(|limit| format!("{} ({})", plain::line(&limit.limit), plain::line(&limit.by)))
        .collect();
    found.sort();
    found.dedup();
    let said = format!("watched over by wflo, not by the kernel: {}", found.join(", "));
    (!found.is_empty()).then(|| paint.faint(said).to_string())
}
