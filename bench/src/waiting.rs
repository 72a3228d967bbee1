//! What a run costs in memory while it waits for a person.

use std::sync::Arc;
use std::time::Duration;

use wflo_core::definition::Definition;
use wflo_core::run::RunStatus;
use wflo_engine::Progress;

use crate::row::Row;
use crate::samples::Samples;
use crate::workload::{Bench, gate};
use crate::{Outcome, Plan};

const SECTION: &str = "memory";
/// Enough that caches of a fixed size are full before anything is counted.
const WARM: usize = 4_000;
const RUNS: usize = 10_000;
/// Runs submitted at a time.
const CHUNK: usize = 250;

pub(crate) async fn measure(plan: &Plan) -> Outcome<Vec<Row>> {
    let dir = tempfile::tempdir_in(&plan.dir)?;
    let bench = Arc::new(Bench::start(dir.path(), Duration::ZERO, Duration::ZERO).await?);
    let definition = Arc::new(gate()?);
    let empty = resident_bytes()?;
    park(&bench, &definition, WARM).await?;
    let before = resident_bytes()?;
    park(&bench, &definition, RUNS).await?;
    let after = resident_bytes()?;
    let each = |from: f64, count: usize| Samples::one((after - from) / count as f64);
    let rows = vec![
        Row::new(SECTION, format!("each of {RUNS} waiting runs"), "bytes", each(before, RUNS))
            .wanted("< 1024 bytes")
            .note(format!("resident memory; {WARM} waiting runs were there before, so that caches are full")),
        Row::new(
            SECTION,
            format!("each of all {} waiting runs, caches included", WARM + RUNS),
            "bytes",
            each(empty, WARM + RUNS),
        ),
        Row::new(SECTION, "resident before the first run", "bytes", Samples::one(empty)),
    ];
    if let Ok(bench) = Arc::try_unwrap(bench) {
        bench.stop().await;
    }
    Ok(rows)
}

/// Submits runs and waits until each of them waits.
async fn park(bench: &Arc<Bench>, definition: &Arc<Definition>, count: usize) -> Outcome<()> {
    for _ in 0..count / CHUNK {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..CHUNK {
            let (bench, definition) = (Arc::clone(bench), Arc::clone(definition));
            tasks.spawn(async move {
                let run = bench.submit(&definition).await?;
                match bench.engine.settled(run).await? {
                    Progress::Parked(RunStatus::Waiting) => Outcome::Ok(()),
                    other => Err(format!("{run} does not wait: {other:?}").into()),
                }
            });
        }
        while let Some(task) = tasks.join_next().await {
            task??;
        }
    }
    Ok(())
}

fn resident_bytes() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0)
}
