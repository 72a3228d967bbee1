//! `wflo costs report`: the journal's calls added up.

use serde::Serialize;
use wflo_core::cost::{Spent, Sum};
use wflo_core::id::RunId;
use wflo_core::money::NanoUsd;

use super::anomaly::{self, Anomaly};
use super::spending::{GATEWAY, Line, Spending, at_of};
use super::trend::Series;
use crate::cli::{CostsBy, ReportArgs};
use crate::commands::{Context, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::printer::{Printer, Table, money};
use crate::session::block_on;

/// The calls that were made with no key of the gateway.
const RUNS: &str = "(runs)";

/// What a line stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Key {
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    /// A key of the gateway; calls of runs are with none.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// Every label of its runs, or the value of the one that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<jiff::civil::Date>,
    /// The run itself was removed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
}

/// One line of the report.
struct Row {
    key: Key,
    sum: Sum,
    series: Series,
}

/// What a model cost on a day.
#[derive(Serialize)]
struct DayCost {
    day: jiff::civil::Date,
    cost_usd: NanoUsd,
}

/// One line with `--json`.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Said<'a> {
    Row {
        #[serde(flatten)]
        key: &'a Key,
        #[serde(flatten)]
        sum: Sum,
        #[serde(skip_serializing_if = "Option::is_none")]
        days: Option<Vec<DayCost>>,
    },
    /// A call whose bill was lost: it is charged in full.
    Uncertain {
        /// None of calls of the gateway.
        #[serde(skip_serializing_if = "Option::is_none")]
        run_id: Option<RunId>,
        effect: String,
        model: Option<&'a str>,
        cost_usd: NanoUsd,
        uncertain_usd: NanoUsd,
        started_at: jiff::Timestamp,
    },
    /// Something to look at.
    Anomaly {
        #[serde(flatten)]
        anomaly: &'a Anomaly,
    },
    Total {
        #[serde(flatten)]
        sum: Sum,
    },
}

/// Prints the report.
pub(crate) fn report(args: &ReportArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    args.days.checked()?;
    let spending = match pick::session(context)? {
        Some(session) => block_on(Spending::load(&session, args.run.as_ref(), args.days))?,
        None => {
            if !printer.json_wanted() && !args.csv {
                printer.note("No runs yet, so nothing was spent.");
                return Ok(Exit::Success);
            }
            Spending::default()
        }
    };
    let rows = rows(args, &spending);
    let anomalies = anomaly::all(&spending);
    if args.csv {
        printer.raw(csv(args.by, &rows));
        return Ok(Exit::Success);
    }
    let mut total = Sum::default();
    rows.iter().for_each(|row| total.add(&row.sum));
    for row in &rows {
        let days = args
            .by
            .has_trend()
            .then(|| row.series.days().map(|(day, cost_usd)| DayCost { day, cost_usd }).collect::<Vec<_>>());
        printer.object(&Said::Row { key: &row.key, sum: row.sum, days });
    }
    for call in &spending.uncertain {
        printer.object(&Said::Uncertain {
            run_id: Some(call.run),
            effect: call.effect.key.to_string(),
            model: call.model(),
            cost_usd: call.effect.cost,
            uncertain_usd: call.effect.uncertain,
            started_at: call.effect.started_at,
        });
    }
    for (process, call) in &spending.lost {
        printer.object(&Said::Uncertain {
            run_id: None,
            effect: format!("{process}/{}", call.seq),
            model: Some(&call.model),
            cost_usd: call.cost,
            uncertain_usd: call.cost,
            started_at: at_of(call),
        });
    }
    for anomaly in &anomalies {
        printer.object(&Said::Anomaly { anomaly });
    }
    printer.object(&Said::Total { sum: total });
    printer.line(
        table(args.by, &rows, total, &spending)
            .within(printer.width(), &[1], &[12, 6, 5, 7, 4, 3, 1])
            .ids(&[0])
            .right(&[2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
            .omit_empty(),
    );
    remarks(printer, args, &spending, &anomalies);
    Ok(Exit::Success)
}

/// What the table cannot say. Lost bills stay lost: there is one line for all of them, unless they are asked for.
fn remarks(printer: &Printer, args: &ReportArgs, spending: &Spending, anomalies: &[Anomaly]) {
    let of_runs = spending.uncertain.iter().map(|call| call.effect.uncertain);
    let costs: Vec<NanoUsd> = of_runs.chain(spending.lost.iter().map(|(_, call)| call.cost)).collect();
    if costs.len() > 1 && !args.uncertain {
        let sum = costs.iter().copied().fold(NanoUsd::ZERO, NanoUsd::saturating_add);
        printer.note(format_args!(
            "uncertain: the bills of {} calls were lost, so {} is charged for them; `wflo costs report --uncertain` lists them",
            costs.len(),
            money(sum)
        ));
    } else {
        lost_bills(printer, spending);
    }
    looked_at(printer, anomalies);
}

/// Each call whose bill was lost.
fn lost_bills(printer: &Printer, spending: &Spending) {
    for call in &spending.uncertain {
        printer.note(format_args!(
            "uncertain: {} in {} ({}): a bill of it was lost, so {} is charged for that",
            plain::line(&call.effect.key.to_string()),
            call.run,
            plain::value(&call.effect.attributes["model"]),
            money(call.effect.uncertain)
        ));
    }
    for (process, call) in &spending.lost {
        printer.note(format_args!(
            "uncertain: call {} of gateway {process} ({}): its bill was lost, so {} is charged for it",
            call.seq,
            plain::line(&call.model),
            money(call.cost)
        ));
    }
}

/// What somebody should look at.
fn looked_at(printer: &Printer, anomalies: &[Anomaly]) {
    let name = |model: &Option<String>| model.as_deref().map_or_else(|| "?".to_owned(), plain::line);
    for anomaly in anomalies {
        match anomaly {
            Anomaly::AboveBound { run_id, effect, model, cost_usd, hold_usd } => {
                printer.note(format_args!(
                    "above its bound: {} in {run_id} ({}) was billed {}, where {} was the most that it could cost",
                    plain::line(effect),
                    name(model),
                    money(*cost_usd),
                    money(*hold_usd)
                ));
            }
            Anomaly::DearDay { model, day, cost_usd, usual_usd, .. } => printer.note(format_args!(
                "a dear day: {} cost {} on {day}, where {} was usual",
                name(model),
                money(*cost_usd),
                money(*usual_usd)
            )),
            Anomaly::PriceMoved { model, day, per_million_usd, usual_usd, .. } => {
                printer.note(format_args!(
                    "a price that moved: a million tokens of {} cost {} on {day}, where {} was usual",
                    name(model),
                    money(*per_million_usd),
                    money(*usual_usd)
                ));
            }
        }
    }
}

fn rows(args: &ReportArgs, spending: &Spending) -> Vec<Row> {
    let by = args.by;
    let mut rows: Vec<Row> = Vec::new();
    if by == CostsBy::Run {
        for run in &spending.runs {
            let key = of_run(Some(run.id), &run.workflow, false);
            rows.push(Row { key, sum: Sum::default(), series: Series::default() });
        }
    }
    for line in &spending.lines {
        let key = key(by, args.label.as_deref(), line);
        // What belongs together stands together in most reports.
        let row = match rows.iter_mut().rposition(|row| row.key == key) {
            Some(at) => at,
            None => {
                rows.push(Row { key, sum: Sum::default(), series: Series::default() });
                rows.len() - 1
            }
        };
        if let Some(row) = rows.get_mut(row) {
            row.sum.add(&line.spent.sum);
            row.series.add(line.spent.day, line.spent.sum.cost);
        }
    }
    match by {
        CostsBy::Run | CostsBy::Step => {}
        CostsBy::Day => rows.sort_by_key(|row| row.key.day),
        CostsBy::Agent
        | CostsBy::Key
        | CostsBy::Label
        | CostsBy::Model
        | CostsBy::Provider
        | CostsBy::Workflow => {
            rows.sort_by_key(|row| std::cmp::Reverse(row.sum.cost));
        }
    }
    rows
}

fn of_run(run: Option<RunId>, workflow: &str, removed: bool) -> Key {
    Key { run_id: run, workflow: Some(workflow.to_owned()), removed, ..Key::default() }
}

fn key(by: CostsBy, label: Option<&str>, line: &Line) -> Key {
    let Line { spent, removed, gateway, key } = line;
    let Spent { workflow, day, step, agent, provider, model, .. } = spent;
    let run = (!gateway).then_some(spent.run);
    match by {
        CostsBy::Run => of_run(run, workflow, *removed),
        CostsBy::Step => Key { step: Some(step.clone()), ..of_run(run, workflow, *removed) },
        CostsBy::Workflow => Key { workflow: Some(workflow.clone()), ..Key::default() },
        CostsBy::Key => Key { key: key.clone(), ..Key::default() },
        CostsBy::Agent => Key { workflow: Some(workflow.clone()), agent: agent.clone(), ..Key::default() },
        CostsBy::Provider => Key { provider: provider.clone(), ..Key::default() },
        CostsBy::Label => Key { label: labelled(spent, label), ..Key::default() },
        CostsBy::Model => Key { provider: provider.clone(), model: model.clone(), ..Key::default() },
        CostsBy::Day => Key { day: Some(*day), ..Key::default() },
    }
}

/// All labels of a run, so that each call is in one line, or the value of one.
fn labelled(spent: &Spent, name: Option<&str>) -> Option<String> {
    match name {
        Some(name) => spent.labels.get(name).cloned(),
        None if spent.labels.is_empty() => None,
        None => {
            let all = spent.labels.iter().map(|(name, value)| format!("{name}={value}"));
            Some(all.collect::<Vec<_>>().join(" "))
        }
    }
}

fn names(by: CostsBy, key: &Key) -> Vec<String> {
    let text =
        |value: &Option<String>| value.as_deref().map_or_else(|| "?".to_owned(), |v| plain::short(v, 40));
    let run = || {
        let id = key.run_id.map_or_else(|| GATEWAY.to_owned(), |id| id.to_string());
        if key.removed { format!("{id} (removed)") } else { id }
    };
    match by {
        CostsBy::Run => vec![run(), text(&key.workflow)],
        CostsBy::Step => vec![run(), text(&key.step)],
        CostsBy::Workflow => vec![text(&key.workflow), String::new()],
        CostsBy::Key => {
            vec![key.key.as_deref().map_or_else(|| RUNS.to_owned(), |v| plain::short(v, 80)), String::new()]
        }
        CostsBy::Agent => vec![text(&key.workflow), text(&key.agent)],
        CostsBy::Provider => vec![text(&key.provider), String::new()],
        CostsBy::Label => {
            vec![key.label.as_deref().map_or_else(String::new, |v| plain::short(v, 40)), String::new()]
        }
        CostsBy::Model => vec![text(&key.provider), text(&key.model)],
        CostsBy::Day => vec![key.day.map(|day| day.to_string()).unwrap_or_default(), String::new()],
    }
}

const fn heads(by: CostsBy) -> [&'static str; 2] {
    match by {
        CostsBy::Run => ["RUN", "WORKFLOW"],
        CostsBy::Step => ["RUN", "STEP"],
        CostsBy::Workflow => ["WORKFLOW", ""],
        CostsBy::Key => ["KEY", ""],
        CostsBy::Agent => ["WORKFLOW", "AGENT"],
        CostsBy::Provider => ["PROVIDER", ""],
        CostsBy::Label => ["LABEL", ""],
        CostsBy::Model => ["PROVIDER", "MODEL"],
        CostsBy::Day => ["DAY", ""],
    }
}

fn table(by: CostsBy, rows: &[Row], total: Sum, spending: &Spending) -> Table {
    let [first, second] = heads(by);
    let mut table = Table::new(&[
        first,
        second,
        "CALLS",
        "KEPT",
        "INPUT",
        "CACHED",
        "WRITTEN",
        "OUTPUT",
        "COST",
        "SAVED",
        "BY PROMPT CACHES",
        "OF IT UNCERTAIN",
        "TREND",
    ]);
    let days = spending.days().filter(|(first, last)| by.has_trend() && first < last);
    let dearest = rows.iter().map(|row| row.sum.cost).max().unwrap_or_default();
    for row in rows {
        let mut cells = names(by, &row.key);
        cells.extend(figures(row.sum));
        cells.push(match days {
            Some(days) => row.series.picture(days),
            None if by == CostsBy::Day => bar(row.sum.cost, dearest),
            None => String::new(),
        });
        table.row(cells);
    }
    let mut last = vec!["total".to_owned(), String::new()];
    last.extend(figures(total));
    table.row(last);
    table
}

/// A day beside the dearest.
fn bar(cost: NanoUsd, most: NanoUsd) -> String {
    const WIDEST: i128 = 20;
    if most <= NanoUsd::ZERO || cost <= NanoUsd::ZERO {
        return String::new();
    }
    let width = (i128::from(cost.nanos()) * WIDEST).div_euclid(i128::from(most.nanos())).max(1);
    "█".repeat(usize::try_from(width).unwrap_or(1))
}

/// What is nothing everywhere is left out with its column.
fn figures(sum: Sum) -> Vec<String> {
    let unless = |is_nothing: bool, text: String| if is_nothing { String::new() } else { text };
    vec![
        sum.calls.to_string(),
        unless(sum.hits == 0, sum.hits.to_string()),
        sum.input_tokens.to_string(),
        unless(sum.cached_tokens == 0, sum.cached_tokens.to_string()),
        unless(sum.prompt_cache.written_tokens == 0, sum.prompt_cache.written_tokens.to_string()),
        sum.output_tokens.to_string(),
        money(sum.cost),
        unless(sum.saved == NanoUsd::ZERO, money(sum.saved)),
        unless(sum.prompt_cache.saved == NanoUsd::ZERO, money(sum.prompt_cache.saved)),
        unless(sum.uncertain == NanoUsd::ZERO, money(sum.uncertain)),
    ]
}

/// The rows for a spreadsheet: a head, then a line each, amounts in plain USD.
fn csv(by: CostsBy, rows: &[Row]) -> String {
    let keys: &[&str] = match by {
        CostsBy::Run => &["run_id", "workflow"],
        CostsBy::Step => &["run_id", "workflow", "step"],
        CostsBy::Workflow => &["workflow"],
        CostsBy::Key => &["key"],
        CostsBy::Agent => &["workflow", "agent"],
        CostsBy::Provider => &["provider"],
        CostsBy::Label => &["label"],
        CostsBy::Model => &["provider", "model"],
        CostsBy::Day => &["day"],
    };
    let sums = [
        "calls",
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "cost_usd",
        "uncertain_usd",
        "cache_hits",
        "saved_usd",
        "cache_write_tokens",
        "prompt_cache_saved_usd",
    ];
    let mut text = csv::Writer::from_writer(Vec::new());
    // Writing to memory does not fail.
    let _ = text.write_record(keys.iter().chain(&sums));
    for Row { key, sum, .. } in rows {
        let mut cells: Vec<String> = keys.iter().map(|name| cell(key, name)).collect();
        cells.extend([
            sum.calls.to_string(),
            sum.input_tokens.to_string(),
            sum.cached_tokens.to_string(),
            sum.output_tokens.to_string(),
            sum.cost.to_string(),
            sum.uncertain.to_string(),
            sum.hits.to_string(),
            sum.saved.to_string(),
            sum.prompt_cache.written_tokens.to_string(),
            sum.prompt_cache.saved.to_string(),
        ]);
        let _ = text.write_record(&cells);
    }
    String::from_utf8(text.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// A name as a cell. Steps choose names, and a spreadsheet runs what begins like a formula.
fn cell(key: &Key, name: &str) -> String {
    let text = match name {
        "run_id" => key.run_id.map(|id| id.to_string()),
        "workflow" => key.workflow.clone(),
        "step" => key.step.clone(),
        "agent" => key.agent.clone(),
        "key" => key.key.clone(),
        "provider" => key.provider.clone(),
        "model" => key.model.clone(),
        "label" => key.label.clone(),
        _ => key.day.map(|day| day.to_string()),
    };
    let text = text.unwrap_or_default();
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_begins_like_a_formula_is_text() {
        let key = Key { model: Some("=HYPERLINK(\"x\")".to_owned()), ..Key::default() };
        let rows = [Row { key, sum: Sum::default(), series: Series::default() }];
        let text = csv(CostsBy::Model, &rows);
        assert!(
            text.lines().nth(1).unwrap().starts_with(",\"'=HYPERLINK(\"\"x\"\")\",0,0,0,0,0.00,0.00"),
            "{text}"
        );
    }
}
