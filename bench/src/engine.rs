//! Durable workflows of ten steps that do nothing: the engine and the store, and what the disk allows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use wflo_core::event::{Event, EventBody};
use wflo_core::machine::Changes;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Batch, Fence, Op, Store as _};

use crate::disk::Disk;
use crate::row::Row;
use crate::samples::Samples;
use crate::workload::{Bench, STEPS, line, record};
use crate::{Outcome, Plan};

const SECTION: &str = "engine";
const AT_ONCE: [usize; 3] = [1, 64, 256];
/// Slices in which a lone run and the disk take turns, so that a disk that changes its pace changes it
/// for both.
const SLICES: u32 = 8;

/// What one number of concurrent runs gave in each round.
#[derive(Default)]
struct Figures {
    steps: Samples,
    flushes: Samples,
    batches: Samples,
}

pub(crate) async fn measure(plan: &Plan) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for delay in [Duration::ZERO, Duration::from_millis(2)] {
        rows.extend(with_delay(plan, delay).await?);
    }
    Ok(rows)
}

async fn with_delay(plan: &Plan, delay: Duration) -> Outcome<Vec<Row>> {
    let (mut floor, mut all) = (Samples::default(), AT_ONCE.map(|_| Figures::default()));
    let mut cpu = Samples::default();
    for _ in 0..plan.rounds {
        let dir = tempfile::tempdir_in(&plan.dir)?;
        let mut disk = Disk::new(dir.path(), delay)?;
        let bench = Arc::new(Bench::start(dir.path(), delay, Duration::ZERO).await?);
        // Past the start, where the log is not yet allocated: a process that lives pays that once.
        workflows(&bench, 16, plan.span / 4).await?;
        for (at_once, figures) in AT_ONCE.into_iter().zip(&mut all) {
            if at_once == 1 {
                lone(plan, &bench, &mut disk, figures, &mut floor).await?;
                continue;
            }
            let before = cpu_seconds();
            let (steps, flushes) = workflows(&bench, at_once, plan.span).await?;
            if at_once == 256 {
                cpu.push((cpu_seconds() - before) / (steps * plan.span.as_secs_f64()) * 1e6);
            }
            figures.steps.push(steps);
            figures.flushes.push(flushes);
            figures.batches.push(batches(&bench, at_once, plan.span / 2).await?);
        }
        finish(bench).await?;
    }
    Ok(table(delay, &floor, &all, cpu))
}

/// One run after another, in turns with the disk.
async fn lone(
    plan: &Plan,
    bench: &Arc<Bench>,
    disk: &mut Disk,
    figures: &mut Figures,
    floor: &mut Samples,
) -> Outcome<()> {
    let (mut steps, mut flushes, mut batched, mut flushed) = (0.0, 0.0, 0.0, 0.0);
    for _ in 0..SLICES {
        flushed += disk.rate(plan.span / SLICES)?;
        let (more, of_store) = workflows(bench, 1, plan.span / SLICES).await?;
        steps += more;
        flushes += of_store;
        batched += batches(bench, 1, plan.span / SLICES).await?;
    }
    let slices = f64::from(SLICES);
    figures.steps.push(steps / slices);
    figures.flushes.push(flushes / slices);
    figures.batches.push(batched / slices);
    floor.push(flushed / slices);
    Ok(())
}

fn table(delay: Duration, floor: &Samples, all: &[Figures], cpu: Samples) -> Vec<Row> {
    let slow = if delay.is_zero() { String::new() } else { format!(", {delay:?} added to each flush") };
    let disk = "4 KiB write + fdatasync";
    let mut rows = vec![Row::new(SECTION, format!("{disk}{slow}"), "/s", floor.clone())];
    for (at_once, figures) in AT_ONCE.into_iter().zip(all) {
        let batches = figures.batches.median();
        rows.push(
            Row::new(
                SECTION,
                format!("store: batches of a step, {at_once} at once{slow}"),
                "/s",
                figures.batches.clone(),
            )
            .beside(disk, floor.median()),
        );
        let steps = Row::new(
            SECTION,
            format!("engine: no-op steps, {at_once} runs at once{slow}"),
            "/s",
            figures.steps.clone(),
        );
        rows.push(match at_once {
            1 => steps
                .beside(disk, floor.median())
                .wanted(">= 0.9 x")
                .note("a step computes while the end of the one before it is flushed, so several ends share a flush"),
            256 => steps.beside("store's batches", batches).wanted(">= 10000/s, 20000/s hoped for"),
            _ => steps.beside("store's batches", batches),
        });
        if at_once == 1 {
            rows.push(
                Row::new(
                    SECTION,
                    format!("engine: flushes, 1 run at once{slow}"),
                    "/s",
                    figures.flushes.clone(),
                )
                .beside(disk, floor.median()),
            );
        }
    }
    rows.push(Row::new(SECTION, format!("engine: CPU of a step, 256 runs at once{slow}"), "us", cpu));
    rows
}

/// Workflows of [`STEPS`] steps, `at_once` of them at any time: steps and flushes a second.
async fn workflows(bench: &Arc<Bench>, at_once: usize, span: Duration) -> Outcome<(f64, f64)> {
    let definition = Arc::new(line("step", STEPS)?);
    let commits = bench.store.commits();
    let (start, before) = (Instant::now(), *commits.borrow());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let (bench, definition) = (Arc::clone(bench), Arc::clone(&definition));
        tasks.spawn(async move {
            let mut steps = 0.0;
            while start.elapsed() < span {
                bench.complete(&definition).await?;
                steps += f64::from(STEPS);
            }
            Outcome::Ok(steps)
        });
    }
    let mut steps = 0.0;
    while let Some(task) = tasks.join_next().await {
        steps += task??;
    }
    let spent = start.elapsed().as_secs_f64();
    let flushes = (*commits.borrow() - before) as f64;
    Ok((steps / spent, flushes / spent))
}

/// The store alone: what the engine commits for a step, by `at_once` committers, without the engine.
async fn batches(bench: &Arc<Bench>, at_once: usize, span: Duration) -> Outcome<f64> {
    let definition = line("step", STEPS)?;
    let (digest, json) = (definition.digest()?.to_string(), serde_json::to_value(&definition)?);
    let mut fences = Vec::new();
    let mut ops = vec![Op::PutDefinition { digest: digest.clone(), definition: json }];
    for _ in 0..at_once {
        let run = record(&definition, bench.clock.as_ref());
        fences.push(Fence { run: run.id, epoch: run.lease_epoch });
        ops.push(Op::CreateRun { run: Box::new(run), definition: digest.clone() });
    }
    bench.store.commit(Batch { fence: None, ops }).await?;
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for fence in fences {
        let bench = Arc::clone(bench);
        tasks.spawn(async move {
            let mut count = 0.0;
            while start.elapsed() < span {
                let events = step_events(&bench);
                let ops = vec![Op::AppendEvents { run: fence.run, events }];
                bench.store.commit(Batch { fence: Some(fence), ops }).await?;
                count += 1.0;
            }
            Outcome::Ok(count)
        });
    }
    let mut count = 0.0;
    while let Some(task) = tasks.join_next().await {
        count += task??;
    }
    Ok(count / start.elapsed().as_secs_f64())
}

/// What the end of one step and the start of the next leave in a run's events.
fn step_events(bench: &Bench) -> Vec<Event> {
    let at = bench.clock.now();
    let succeeded = EventBody::StepSucceeded {
        step: "step_0".to_owned(),
        generation: 1,
        output: json!({ "ok": true }),
        changes: Changes::default(),
        cost_usd: NanoUsd::ZERO,
        layer: None,
    };
    let started = EventBody::StepStarted { step: "step_1".to_owned(), generation: 1, attempt: 1, epoch: 1 };
    vec![Event { at, body: succeeded }, Event { at, body: started }]
}

/// Stops the engine and lets go of the store, so that its folder can go.
async fn finish(bench: Arc<Bench>) -> Outcome<()> {
    match Arc::try_unwrap(bench) {
        Ok(bench) => bench.stop().await,
        Err(_) => return Err("a task still holds the engine".into()),
    }
    Ok(())
}

/// Processor time of this process so far, over all its threads.
fn cpu_seconds() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}
