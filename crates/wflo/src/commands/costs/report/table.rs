//! A report for people.

use wflo_core::cost::Sum;
use wflo_core::money::NanoUsd;

use super::super::spending::{GATEWAY, Spending};
use super::rows::{Key, Row};
use crate::cli::CostsBy;
use crate::plain;
use crate::printer::{Table, money};

/// The calls that were made with no key of the gateway.
const RUNS: &str = "(runs)";

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

/// The table of these lines, with their total.
pub(super) fn of(by: CostsBy, rows: &[Row], total: Sum, spending: &Spending) -> Table {
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
