//! `wflo costs estimate`: what a run is likely to cost, before it is started.
//!
//! Each number says where it is from: `history` (nearest-rank percentiles of earlier completed runs of the
//! workflow), `bound` (the most that the one call of a prompt step can cost, as the gateway holds it while there is room),
//! `counted` (the same with its text counted, as the gateway holds it where room is short), or `budget` (the limit that
//! stops it). Nothing is added up that is not known for every step.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};
use wflo_core::budget::{Period, Scope};
use wflo_core::canonical::Digest;
use wflo_core::cost;
use wflo_core::definition::{BudgetSpec, Definition, StepKind, StepSpec};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{RunFilter, Store as _};
use wflo_core::run::RunStatus;
use wflo_engine::images::Building;
use wflo_gateway::dialect::request::Request;
use wflo_gateway::dialect::wire::Asked;
use wflo_gateway::dialect::{Dialect, Endpoint};
use wflo_gateway::reserve::{closer_bound, upper_bound};
use wflo_gateway::route::Routes;

use crate::cli::EstimateArgs;
use crate::commands::Context;
use crate::commands::run::workflow;
use crate::commands::sandbox::images;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::printer::{Table, money};
use crate::session::{Flags, Session, block_on};
use crate::trust;

/// How many earlier runs are looked at.
const RUNS: u32 = 200;

/// A step's forecast, or the run's.
#[derive(Debug, Default, Serialize)]
struct Forecast {
    /// Earlier runs that had it.
    runs: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_usd: Option<NanoUsd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p90_usd: Option<NanoUsd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p90_calls: Option<u64>,
    /// The most that it can cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_usd: Option<NanoUsd>,
    /// How that was found.
    #[serde(skip)]
    by: BTreeSet<&'static str>,
    /// The budget that stops it.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget_usd: Option<NanoUsd>,
    sources: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Step {
        step: &'a str,
        model: Option<&'a str>,
        #[serde(flatten)]
        forecast: &'a Forecast,
    },
    Total {
        workflow: &'a str,
        #[serde(flatten)]
        forecast: &'a Forecast,
    },
}

/// What earlier runs spent: each step's cost and calls in each run, and each run's cost.
#[derive(Default)]
struct History {
    steps: BTreeMap<String, (Vec<NanoUsd>, Vec<u64>)>,
    runs: Vec<NanoUsd>,
}

/// Prints the forecast.
pub(crate) fn estimate(args: &EstimateArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let settings = context.settings(args.workflow.as_deref().map(workflow::file_of))?;
    let found = workflow::resolve(args.workflow.as_deref(), &settings, &context.current)?;
    trust::settle(context, &settings, &[], false)?;
    let session = Session::open(context, settings)?;
    let source = found.into_source()?;
    let inputs = args.inputs.iter().map(|input| (input.name.clone(), input.value.clone())).collect();
    block_on(async {
        let runtime = session.runtime().await?;
        let mut submission =
            session.submission(source, serde_json::Value::Object(inputs), Flags::default())?;
        let (settings, source) = (&session.settings, &submission.source);
        submission.installed =
            images::for_workflow(context, settings, source, None, Building::WhereMissing).await?;
        let prepared = runtime.prepare(submission).await.map_err(CommandError::engine);
        let printed = match prepared {
            Ok(prepared) => {
                let (definition, more) = (&prepared.definition, &prepared.record.options.budgets);
                print(&session, context, definition, more).await
            }
            Err(error) => Err(error),
        };
        runtime.shutdown().await;
        printed.map(|()| Exit::Success)
    })
}

async fn print(
    session: &Session<'_>,
    context: &Context<'_>,
    definition: &Definition,
    more: &[BudgetSpec],
) -> Result<(), CommandError> {
    let (printer, history) = (context.printer, history(session, &definition.name).await?);
    let routes = session.routes()?;
    let mut table = Table::new(&["STEP", "P50", "P90", "AT MOST", "FROM"]);
    let (mut all_bounded, mut by) = (Some(NanoUsd::ZERO), BTreeSet::new());
    for step in &definition.steps {
        if matches!(step.kind, StepKind::Approval(_) | StepKind::Condition { .. }) {
            continue;
        }
        let mut forecast = of_history(history.steps.get(&step.name));
        if let Some((most, how)) = bound(step, &routes) {
            forecast.bound_usd = Some(most);
            forecast.by.insert(how);
            by.insert(how);
        }
        let own = step
            .budgets
            .iter()
            .chain(definition.budgets.iter().chain(more).filter(|budget| budget.covers().0 == Scope::Step));
        forecast.budget_usd = own.filter_map(|budget| budget.max_cost_usd).min();
        let calls_models = matches!(step.kind, StepKind::Agent { .. });
        if calls_models {
            all_bounded = all_bounded.zip(forecast.bound_usd).map(|(sum, more)| sum.saturating_add(more));
        }
        let forecast = named(forecast);
        let model = match &step.kind {
            StepKind::Agent { model, .. } => model.as_deref(),
            _ => None,
        };
        printer.object(&Line::Step { step: &step.name, model, forecast: &forecast });
        table.row(row(&plain::short(&step.name, 40), &forecast));
    }
    let mut total = of_runs(&history.runs);
    total.bound_usd = all_bounded.filter(|_| definition.steps.iter().any(calls));
    total.by = if total.bound_usd.is_some() { by } else { BTreeSet::new() };
    let of_run = |budget: &&BudgetSpec| matches!(budget.covers(), (Scope::Run, Period::Total));
    let limits = definition.budgets.iter().chain(more).filter(of_run);
    total.budget_usd = limits.filter_map(|budget| budget.max_cost_usd).min();
    let total = named(total);
    printer.object(&Line::Total { workflow: &definition.name, forecast: &total });
    table.row(row("total", &total));
    printer.line(table.right(&[1, 2, 3]));
    if total.runs == 0 && total.bound_usd.is_none() {
        printer.note(
            "No earlier run has completed, and what the steps' code calls is not known before it runs.",
        );
    }
    Ok(())
}

fn calls(step: &StepSpec) -> bool {
    matches!(step.kind, StepKind::Agent { .. })
}

async fn history(session: &Session<'_>, workflow: &str) -> Result<History, CommandError> {
    let filter = RunFilter {
        workflow: Some(workflow.to_owned()),
        statuses: vec![RunStatus::Completed],
        limit: RUNS,
        ..RunFilter::default()
    };
    let mut history = History::default();
    let mut definitions: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    let mut had: BTreeMap<String, usize> = BTreeMap::new();
    for run in session.store.runs(filter).await? {
        if !definitions.contains_key(&run.version) {
            let definition = session.store.definition(run.id).await?;
            definitions.insert(run.version.clone(), step_names(&definition));
        }
        for step in definitions.get(&run.version).into_iter().flatten() {
            *had.entry(step.clone()).or_default() += 1;
        }
        let effects = session.store.run_effects(run.id).await?;
        let mut steps: BTreeMap<String, (NanoUsd, u64)> = BTreeMap::new();
        let mut whole = NanoUsd::ZERO;
        for line in cost::of_run(&run, &effects) {
            let (cost, calls) = steps.entry(line.step).or_default();
            *cost = cost.saturating_add(line.sum.cost);
            *calls += line.sum.calls;
            whole = whole.saturating_add(line.sum.cost);
        }
        for (step, (cost, calls)) in steps {
            let (costs, counts) = history.steps.entry(step).or_default();
            costs.push(cost);
            counts.push(calls);
        }
        history.runs.push(whole);
    }
    // No run has a bill of it: it called no model.
    for (step, runs) in had {
        history.steps.entry(step).or_insert_with(|| (vec![NanoUsd::ZERO; runs], vec![0; runs]));
    }
    Ok(history)
}

/// The steps of a definition as it is kept.
fn step_names(definition: &Value) -> Vec<String> {
    let steps = definition["steps"].as_array().into_iter().flatten();
    steps.filter_map(|step| step["name"].as_str().map(str::to_owned)).collect()
}

fn of_history(known: Option<&(Vec<NanoUsd>, Vec<u64>)>) -> Forecast {
    let Some((costs, calls)) = known else { return Forecast::default() };
    Forecast { p90_calls: percentile(calls, 90), ..of_runs(costs) }
}

fn of_runs(costs: &[NanoUsd]) -> Forecast {
    Forecast {
        runs: costs.len(),
        p50_usd: percentile(costs, 50),
        p90_usd: percentile(costs, 90),
        ..Forecast::default()
    }
}

/// The nearest-rank percentile: a value that occurred, with at least so many percent at or below it.
fn percentile<T: Copy + Ord>(values: &[T], percent: usize) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// The most that the one call of a prompt step can cost, where its prompt is all there, and how that was found.
fn bound(step: &StepSpec, routes: &Routes) -> Option<(NanoUsd, &'static str)> {
    let StepKind::Agent { model: Some(model), prompt: Some(prompt), system, max_tokens, .. } = &step.kind
    else {
        return None;
    };
    if prompt.contains("{{") || system.as_ref().is_some_and(|system| system.contains("{{")) {
        return None;
    }
    let route = routes.find(None, None, model).ok()?;
    if route.provider.dialect != Dialect::OpenAi {
        return None;
    }
    let mut messages = Vec::new();
    messages.extend(system.as_ref().map(|system| json!({ "role": "system", "content": system })));
    messages.push(json!({ "role": "user", "content": prompt }));
    let mut body = json!({ "model": model, "messages": messages });
    if let Some(tokens) = max_tokens {
        body[route.provider.output_limit.name()] = json!(tokens);
    }
    let asked = Asked {
        dialect: Dialect::OpenAi,
        endpoint: Endpoint::Chat,
        suffix: "/chat/completions",
        query: None,
        beta: "",
    };
    let (body, price) = (body.to_string(), route.price?);
    let request = Request::read(&asked, body.as_bytes()).ok()?;
    let plain = upper_bound(&request, &price).ok()?.cost;
    let counted = closer_bound(&request, &price, body.as_bytes()).ok().flatten().map(|bound| bound.cost);
    Some(match counted.filter(|counted| *counted < plain) {
        Some(counted) => (counted, "counted"),
        None => (plain, "bound"),
    })
}

fn named(mut forecast: Forecast) -> Forecast {
    let history = forecast.p50_usd.map(|_| "history");
    let budget = forecast.budget_usd.map(|_| "budget");
    forecast.sources = history.into_iter().chain(forecast.by.iter().copied()).chain(budget).collect();
    forecast
}

fn row(name: &str, forecast: &Forecast) -> Vec<String> {
    let show = |value: Option<NanoUsd>| value.map_or_else(|| "?".to_owned(), money);
    let most = match (forecast.bound_usd, forecast.budget_usd) {
        (Some(bound), Some(budget)) => Some(bound.min(budget)),
        (bound, budget) => bound.or(budget),
    };
    let from = match forecast.runs {
        0 => forecast.sources.join(", "),
        1 => forecast.sources.join(", ").replace("history", "1 earlier run"),
        many => forecast.sources.join(", ").replace("history", &format!("{many} earlier runs")),
    };
    vec![name.to_owned(), show(forecast.p50_usd), show(forecast.p90_usd), show(most), from]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the gateway would hold at last is what it can cost.
    #[test]
    fn a_prompt_whose_text_can_be_counted_is_counted() {
        use wflo_gateway::price::ModelSettings;
        use wflo_gateway::route::Provider;

        let prompt = "Write down what the customers of the last week have asked for. ".repeat(40);
        let definition = json!({"name": "t", "steps": [{
            "name": "ask", "type": "agent", "model": "gpt-4.1", "prompt": prompt, "max_tokens": 100, "depends_on": []
        }]});
        let definition = Definition::parse(&definition).unwrap();
        let routes = |name: &str, url: &str, models| {
            let provider = Provider::new(name, Dialect::OpenAi, url, None).unwrap();
            Routes::new(vec![provider], Vec::new(), models).unwrap()
        };
        let openai = routes("openai", "https://api.openai.com/v1", BTreeMap::new());
        let (counted, how) = bound(&definition.steps[0], &openai).unwrap();
        // At the dearest tier, and less than its bytes at the standard one.
        assert!(how == "counted" && counted.nanos() < 2_000 * prompt.len() as i64, "{counted} {how}");
        let own = ModelSettings {
            provider: Some("local".into()),
            input: Some("2".into()),
            output: Some("8".into()),
            context_tokens: Some(1_000_000),
            template_tokens: Some(100),
            ..ModelSettings::default()
        };
        let local = routes("local", "http://127.0.0.1:9/v1", BTreeMap::from([("gpt-4.1".to_owned(), own)]));
        let (plain, how) = bound(&definition.steps[0], &local).unwrap();
        assert!(how == "bound" && plain.nanos() > 2_000 * prompt.len() as i64, "{plain} {how}");
    }

    #[test]
    fn a_percentile_is_a_value_that_occurred() {
        assert_eq!(percentile::<u64>(&[], 50), None);
        assert_eq!(percentile(&[7], 50), Some(7));
        assert_eq!(percentile(&[4, 1, 3, 2], 50), Some(2));
        assert_eq!(percentile(&[4, 1, 3, 2], 90), Some(4));
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 90)), (Some(50), Some(90)));
    }
}
