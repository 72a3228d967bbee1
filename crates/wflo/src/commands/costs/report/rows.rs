//! The lines of a report: what each stands for, and what was spent under it.

use serde::Serialize;
use wflo_core::cost::{Spent, Sum};
use wflo_core::id::RunId;

use super::super::spending::{Line, Spending};
use super::super::trend::Series;
use crate::cli::{CostsBy, ReportArgs};

/// What a line stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Key {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) run_id: Option<RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workflow: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) step: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agent: Option<String>,
    /// A key of the gateway; calls of runs are with none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    /// Every label of its runs, or the value of the one that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) day: Option<jiff::civil::Date>,
    /// The run itself was removed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) removed: bool,
}

/// One line of the report.
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) sum: Sum,
    pub(super) series: Series,
}

/// The lines of the report that was asked for, in its order.
pub(super) fn of(args: &ReportArgs, spending: &Spending) -> Vec<Row> {
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
