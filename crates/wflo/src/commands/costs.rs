//! `wflo costs report`: what model calls were billed, added up from the journal.

use std::collections::BTreeMap;

use serde::Serialize;
use wflo_core::effect::{EffectKind, EffectRecord, EffectState};
use wflo_core::id::RunId;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{RunFilter, Store};
use wflo_core::run::RunRecord;

use crate::cli::{CostsBy, ReportArgs};
use crate::commands::{Context, pick, plain};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::{Table, money};
use crate::session::block_on;

/// What some calls came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Sum {
    calls: u64,
    input_tokens: u64,
    output_tokens: u64,
    cost_usd: NanoUsd,
    /// The part of the cost that is an upper bound, because the real bill was lost.
    uncertain_usd: NanoUsd,
}

impl Sum {
    fn add(&mut self, effect: &EffectRecord) {
        let tokens = |name: &str| effect.attributes[name].as_u64().unwrap_or(0);
        self.calls += 1;
        self.input_tokens += tokens("input_tokens");
        self.output_tokens += tokens("output_tokens");
        self.cost_usd = self.cost_usd.saturating_add(effect.cost);
        self.uncertain_usd = self.uncertain_usd.saturating_add(effect.uncertain);
    }
}

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
    let runs = match &args.run {
        Some(which) => vec![pick::run(&session, which).await?],
        None => session.store.runs(RunFilter::default()).await?,
    };
    let mut rows: Vec<(Key, Sum)> = Vec::new();
    let mut models: BTreeMap<Key, Sum> = BTreeMap::new();
    let mut total = Sum::default();
    let mut uncertain = Vec::new();
    for run in &runs {
        let effects = session.store.run_effects(run.id).await?;
        let mut here: Vec<(Key, Sum)> = Vec::new();
        for effect in effects.into_iter().filter(is_call) {
            let key = key(args.by, run, &effect);
            if args.by == CostsBy::Model {
                models.entry(key).or_default().add(&effect);
            } else {
                match here.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, sum)) => sum.add(&effect),
                    None => {
                        let mut sum = Sum::default();
                        sum.add(&effect);
                        here.push((key, sum));
                    }
                }
            }
            total.add(&effect);
            if effect.uncertain > NanoUsd::ZERO {
                uncertain.push((run.id, effect));
            }
        }
        if here.is_empty() && args.by == CostsBy::Run {
            here.push((of_run(run), Sum::default()));
        }
        rows.extend(here);
    }
    let mut by_model: Vec<(Key, Sum)> = models.into_iter().collect();
    by_model.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.cost_usd));
    rows.extend(by_model);
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
    printer.line(table(args.by, &rows, total).within(printer.width(), &[1], &[4, 3, 1]));
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

/// A model call of this run; what a retry took over was not called again, and what was never sent
/// cost nothing.
fn is_call(effect: &EffectRecord) -> bool {
    let sent = !matches!(effect.state, EffectState::Failed { .. }) || effect.cost > NanoUsd::ZERO;
    effect.kind == EffectKind::Llm && sent && effect.attributes["carried"] != true
}

fn of_run(run: &RunRecord) -> Key {
    Key { run_id: Some(run.id), workflow: Some(run.workflow.clone()), ..Key::default() }
}

fn key(by: CostsBy, run: &RunRecord, effect: &EffectRecord) -> Key {
    let text = |name: &str| effect.attributes[name].as_str().map(str::to_owned);
    match by {
        CostsBy::Run => of_run(run),
        CostsBy::Step => Key { step: Some(effect.key.step.clone()), ..of_run(run) },
        CostsBy::Model => Key { provider: text("provider"), model: text("model"), ..Key::default() },
    }
}

fn table(by: CostsBy, rows: &[(Key, Sum)], total: Sum) -> Table {
    let heads: &[&str] = match by {
        CostsBy::Run => &["RUN", "WORKFLOW"],
        CostsBy::Step => &["RUN", "STEP"],
        CostsBy::Model => &["PROVIDER", "MODEL"],
    };
    let any_uncertain = total.uncertain_usd > NanoUsd::ZERO;
    let mut all = heads.to_vec();
    all.extend(["CALLS", "INPUT", "OUTPUT", "COST"]);
    if any_uncertain {
        all.push("OF IT UNCERTAIN");
    }
    let mut table = Table::new(&all);
    let text =
        |value: &Option<String>| value.as_deref().map_or_else(|| "?".to_owned(), |v| plain::short(v, 40));
    let run = |key: &Key| key.run_id.map(|id| id.to_string()).unwrap_or_default();
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
        money(sum.cost_usd),
    ];
    if uncertain {
        cells.push(money(sum.uncertain_usd));
    }
    cells
}
