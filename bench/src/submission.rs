//! How long a submission takes until it is durable, while a thousand runs are under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wflo_core::definition::Definition;

use crate::row::Row;
use crate::samples::Samples;
use crate::workload::{Bench, STEPS, line};
use crate::{Outcome, Plan};

const SECTION: &str = "submission";
const AT_ONCE: usize = 1_000;
/// A step of the runs that are under way: long beside a commit, short beside a model call.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two submissions that are timed.
const GAP: Duration = Duration::from_millis(5);

pub(crate) async fn measure(plan: &Plan) -> Outcome<Vec<Row>> {
    let slow = line("slow", STEPS)?;
    let short = line("step", 1)?;
    let full = line("step", STEPS)?;
    let (mut idle, mut busy, mut packed, mut burst) = (Kept::new(), Kept::new(), Kept::new(), Kept::new());
    for _ in 0..plan.rounds {
        let dir = tempfile::tempdir_in(&plan.dir)?;
        let bench = Arc::new(Bench::start(dir.path(), Duration::ZERO, PAUSE).await?);
        idle.keep(&probe(&bench, &short, plan.span / 2).await?);
        busy.keep(&under(&bench, &slow, &short, plan.span).await?);
        packed.keep(&under(&bench, &full, &short, plan.span).await?);
        burst.keep(&at_once(&bench, &short).await?);
        if let Ok(bench) = Arc::try_unwrap(bench) {
            bench.stop().await;
        }
    }
    let mut rows = Vec::new();
    let alone = idle.p50.median();
    for (kept, what, wanted, note) in [
        (&idle, "alone", None, "one submission after another; nothing else runs"),
        (
            &busy,
            "1000 runs under way",
            Some("p99 < 20 ms"),
            "their steps take 500 ms each, so that about 2000 steps/s are asked of the engine",
        ),
        (
            &packed,
            "1000 runs that keep the engine full",
            None,
            "steps that do nothing, as fast as the engine can: every queue is as long as it gets",
        ),
        (&burst, "1000 submitted in one moment", None, "from first to last"),
    ] {
        for (share, samples) in [("p50", &kept.p50), ("p99", &kept.p99)] {
            let mut row =
                Row::new(SECTION, format!("accepted, {what}: {share}"), "us", samples.clone()).note(note);
            if share == "p50" && what != "alone" {
                row = row.beside("alone", alone);
            }
            rows.push(match wanted.filter(|_| share == "p99") {
                Some(wanted) => row.wanted(wanted),
                None => row,
            });
        }
    }
    Ok(rows)
}

/// The percentiles of each round.
struct Kept {
    p50: Samples,
    p99: Samples,
}

impl Kept {
    fn new() -> Kept {
        Kept { p50: Samples::default(), p99: Samples::default() }
    }

    fn keep(&mut self, times: &Samples) {
        self.p50.push(times.percentile(50));
        self.p99.push(times.percentile(99));
    }
}

/// Submits while [`AT_ONCE`] runs of `background` are under way at any time.
async fn under(
    bench: &Arc<Bench>,
    background: &Definition,
    probed: &Definition,
    span: Duration,
) -> Outcome<Samples> {
    let (over, watch) = tokio::sync::watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..AT_ONCE {
        let (bench, background, over) = (Arc::clone(bench), background.clone(), watch.clone());
        tasks.spawn(async move {
            // Not all in step with each other.
            tokio::time::sleep(PAUSE.mul_f64(n as f64 / AT_ONCE as f64)).await;
            while !*over.borrow() {
                bench.complete(&background).await?;
            }
            Outcome::Ok(())
        });
    }
    tokio::time::sleep(PAUSE * 2).await;
    let times = probe(bench, probed, span).await;
    over.send_replace(true);
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    times
}

/// The times of submissions, one after another with a gap.
async fn probe(bench: &Arc<Bench>, definition: &Definition, span: Duration) -> Outcome<Samples> {
    let (mut times, start) = (Samples::default(), Instant::now());
    while start.elapsed() < span || times.len() < 100 {
        let began = Instant::now();
        bench.submit(definition).await?;
        times.push_us(began.elapsed());
        tokio::time::sleep(GAP).await;
    }
    Ok(times)
}

/// Everybody in the same moment.
async fn at_once(bench: &Arc<Bench>, definition: &Definition) -> Outcome<Samples> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (bench, definition) = (Arc::clone(bench), definition.clone());
        let began = Instant::now();
        tasks.spawn(async move {
            bench.submit(&definition).await?;
            Outcome::Ok(began.elapsed())
        });
    }
    let mut times = Samples::default();
    while let Some(task) = tasks.join_next().await {
        times.push_us(task??);
    }
    Ok(times)
}
