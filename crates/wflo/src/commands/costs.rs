//! `wflo costs report`: what model calls were billed, added up from the journal.

use serde::Serialize;
use wflo_core::cost::{self, Spent, Sum};
use wflo_core::id::RunId;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{RunFilter, Store};
use wflo_core::run::RunRecord;

use crate::cli::{CostsBy, ReportArgs, RunRef};
use crate::commands::{Context, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::printer::{Table, money};
use crate::session::{Session, block_on};

/// What a line stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Key {
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// The run itself was removed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
}

/// One line with `--json`.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Row {
        #[serde(flatten)]
        key: &'a Key,
        #[serde(flatten)]
        sum: Sum,
    },
    /// A call whose bill was lost: it is charged in full.
    Uncertain {
        run_id: RunId,
        effect: String,
        model: Option<&'a str>,
        cost_usd: NanoUsd,
        uncertain_usd: NanoUsd,
        started_at: jiff::Timestamp,
    },
    Total {
        #[serde(flatten)]
        sum: Sum,
    },
}

/// Prints the report.
pub(crate) fn report(args: &ReportArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    block_on(add_up(args, context))
}

async fn add_up(args: &ReportArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    let Some(session) = pick::session(context)? else {
        printer.object(&Line::Total { sum: Sum::default() });
        if !printer.json_wanted() {
            printer.note("No runs yet, so nothing was spent.");
        }
        return Ok(Exit::Success);
    };
    let (runs, removed) = chosen(&session, args).await?;
    let mut rows: Vec<(Key, Sum)> = Vec::new();
    let mut uncertain = Vec::new();
    for run in &runs {
        if args.by == CostsBy::Run {
            // A run without a call is part of the answer, too.
            rows.push((of_run(run.id, &run.workflow, false), Sum::default()));
        }
        let effects = session.store.run_effects(run.id).await?;
        for line in cost::of_run(run, &effects) {
            add(&mut rows, key(args.by, &line, false), &line.sum);
        }
        let lost =
            effects.into_iter().filter(|effect| effect.uncertain > NanoUsd::ZERO && cost::is_call(effect));
        uncertain.extend(lost.map(|effect| (run.id, effect)));
    }
    for line in &removed {
        add(&mut rows, key(args.by, line, true), &line.sum);
    }
    let mut total = Sum::default();
    rows.iter().for_each(|(_, sum)| total.add(sum));
    if args.by == CostsBy::Model {
        rows.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.cost));
    }
    for (key, sum) in &rows {
        printer.object(&Line::Row { key, sum: *sum });
    }
    for (run, effect) in &uncertain {
        printer.object(&Line::Uncertain {
            run_id: *run,
            effect: effect.key.to_string(),
            model: effect.attributes["model"].as_str(),
            cost_usd: effect.cost,
            uncertain_usd: effect.uncertain,
            started_at: effect.started_at,
        });
    }
    printer.object(&Line::Total { sum: total });
    printer.line(
        table(args.by, &rows, total)
            .within(printer.width(), &[1], &[4, 3, 1])
            .ids(&[0])
            .right(&[2, 3, 4, 5, 6]),
    );
    for (run, effect) in &uncertain {
        printer.note(format_args!(
            "uncertain: {} in {run} ({}): a bill of it was lost, so {} are charged for that",
            plain::line(&effect.key.to_string()),
            plain::value(&effect.attributes["model"]),
            money(effect.uncertain)
        ));
    }
    Ok(Exit::Success)
}

/// The runs that the report is about, and what removed ones left.
async fn chosen(
    session: &Session<'_>,
    args: &ReportArgs,
) -> Result<(Vec<RunRecord>, Vec<Spent>), CommandError> {
    let Some(which) = &args.run else {
        return Ok((session.store.runs(RunFilter::default()).await?, session.store.spent().await?));
    };
    let picked = pick::run(session, which).await;
    if let (Err(_), RunRef::Id(id)) = (&picked, which) {
        let mut left = session.store.spent().await?;
        left.retain(|line| line.run == *id);
        if !left.is_empty() {
            return Ok((Vec::new(), left));
        }
    }
    Ok((vec![picked?], Vec::new()))
}

fn add(rows: &mut Vec<(Key, Sum)>, key: Key, more: &Sum) {
    // What belongs together stands together, but for models.
    match rows.iter_mut().rev().find(|(known, _)| *known == key) {
        Some((_, sum)) => sum.add(more),
        None => rows.push((key, *more)),
    }
}

fn of_run(run: RunId, workflow: &str, removed: bool) -> Key {
    Key { run_id: Some(run), workflow: Some(workflow.to_owned()), removed, ..Key::default() }
}

fn key(by: CostsBy, line: &Spent, removed: bool) -> Key {
    let run = || of_run(line.run, &line.workflow, removed);
    match by {
        CostsBy::Run => run(),
        CostsBy::Step => Key { step: Some(line.step.clone()), ..run() },
        CostsBy::Model => {
            Key { provider: line.provider.clone(), model: line.model.clone(), ..Key::default() }
        }
    }
}

fn table(by: CostsBy, rows: &[(Key, Sum)], total: Sum) -> Table {
    let heads: &[&str] = match by {
        CostsBy::Run => &["RUN", "WORKFLOW"],
        CostsBy::Step => &["RUN", "STEP"],
        CostsBy::Model => &["PROVIDER", "MODEL"],
    };
    let any_uncertain = total.uncertain > NanoUsd::ZERO;
    let mut all = heads.to_vec();
    all.extend(["CALLS", "INPUT", "OUTPUT", "COST"]);
    if any_uncertain {
        all.push("OF IT UNCERTAIN");
    }
    let mut table = Table::new(&all);
    let text =
        |value: &Option<String>| value.as_deref().map_or_else(|| "?".to_owned(), |v| plain::short(v, 40));
    let run = |key: &Key| {
        let id = key.run_id.map(|id| id.to_string()).unwrap_or_default();
        if key.removed { format!("{id} (removed)") } else { id }
    };
    for (key, sum) in rows {
        let mut cells = match by {
            CostsBy::Run => vec![run(key), text(&key.workflow)],
            CostsBy::Step => vec![run(key), text(&key.step)],
            CostsBy::Model => vec![text(&key.provider), text(&key.model)],
        };
        cells.extend(figures(*sum, any_uncertain));
        table.row(cells);
    }
    let mut last = vec!["total".to_owned(), String::new()];
    last.extend(figures(total, any_uncertain));
    table.row(last);
    table
}

fn figures(sum: Sum, uncertain: bool) -> Vec<String> {
    let mut cells = vec![
        sum.calls.to_string(),
        sum.input_tokens.to_string(),
        sum.output_tokens.to_string(),
        money(sum.cost),
    ];
    if uncertain {
        cells.push(money(sum.uncertain));
    }
    cells
}
