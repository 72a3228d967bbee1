//! `wflo budgets set`: makes, changes and removes standing budgets.

use wflo_core::budget::{ALERTS, Amount, LOCAL_ORG, Measure, Period, Scope, Standing};
use wflo_core::ports::clock::Clock as _;
use wflo_core::ports::store::{Batch, Op, Store as _};

use super::list::said;
use super::{BudgetsError, top_up};
use crate::cli::SetArgs;
use crate::commands::{Context, who};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::{Session, coded};

pub(super) async fn run(args: &SetArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let session = Session::open(context, context.settings(None)?)?;
    let (by, at) = (who::local(), session.clock.now());
    let known = session.store.standing_budgets().await?;
    let wanted = wanted(args, &session, &known)?;
    let ops = wanted
        .iter()
        .map(|standing| {
            let (standing, by) = (Box::new(standing.clone()), by.clone());
            match args.remove {
                true => Op::RemoveStanding { standing, by, at },
                false => Op::SetStanding { standing, by, at },
            }
        })
        .collect();
    session.store.commit(Batch { fence: None, ops }).await?;
    for standing in &wanted {
        let verb = if args.remove { "removed" } else { "set" };
        context.printer.object(&serde_json::json!({
            "type": format!("budget.{verb}"),
            "scope": standing.scope,
            "key": standing.key,
            "period": standing.period,
            "time_zone": standing.time_zone,
            "measure": standing.measure,
            "limit": standing.measure.decimal(standing.limit),
            "by": by,
        }));
        context.printer.line(format_args!("{verb} {}", said(standing)));
        for budget in session.store.budgets(vec![standing.key.clone()]).await? {
            if budget.standing && budget.measure == standing.measure && budget.scope == standing.scope {
                top_up::wake(&session, context, budget.id).await?;
            }
        }
    }
    Ok(Exit::Success)
}

/// The budgets that are meant: one for each limit.
fn wanted(args: &SetArgs, session: &Session<'_>, known: &[Standing]) -> Result<Vec<Standing>, CommandError> {
    let wrong = |text: &str| coded(&BudgetsError::Wrong(text.to_owned())).exiting(Exit::Usage);
    let scope = Scope::from(args.scope);
    let key = match (&args.key, scope) {
        (Some(key), Scope::Label) if !key.contains('=') => {
            return Err(wrong("a label has a name and a value: --key user=anna"));
        }
        (Some(key), Scope::Gateway) if key != wflo_proxy::GATEWAY => {
            return Err(wrong("the gateway's budget has no key: leave it out"));
        }
        (Some(key), _) => key.clone(),
        (None, Scope::Org) => session.settings.project.org.clone().unwrap_or_else(|| LOCAL_ORG.to_owned()),
        (None, Scope::Gateway) => wflo_proxy::GATEWAY.to_owned(),
        (None, scope) => return Err(wrong(&format!("which {}? Give --key", scope.name()))),
    };
    if scope == Scope::Key && args.max_seconds.is_some() {
        return Err(wrong("time is of steps, and the calls with a key have none"));
    }
    let period = Period::from(args.period);
    if period == Period::Total && !args.time_zone.is_utc() {
        return Err(wrong("a time zone says where a period begins: give --period"));
    }
    if args.alerts.iter().any(|share| !(*share > 0.0 && *share <= 1.0)) {
        return Err(wrong("an alert is a share between 0 and 1, such as 0.9"));
    }
    let alerts: Vec<u32> = args.alerts.iter().map(|share| (share * 1_000.0).round() as u32).collect();
    let limits = [
        (Measure::Cost, args.max_cost_usd.map(Amount::from)),
        (Measure::ModelCalls, args.max_model_calls.map(Amount::from)),
        (Measure::ToolCalls, args.max_tool_calls.map(Amount::from)),
        (Measure::Tokens, args.max_tokens.map(Amount::from)),
        (Measure::Seconds, args.max_seconds.map(|most| Amount::from(most.saturating_mul(1_000)))),
    ];
    let standing = |measure, limit| Standing {
        scope,
        key: key.clone(),
        period,
        time_zone: args.time_zone.clone(),
        measure,
        limit,
        action_on_exceeded: args.action.map(Into::into),
        alert_thresholds: if alerts.is_empty() { ALERTS.to_vec() } else { alerts.clone() },
        min_output_tokens: args.min_output_tokens,
    };
    let mut wanted: Vec<Standing> =
        limits.into_iter().filter_map(|(measure, limit)| Some(standing(measure, limit?))).collect();
    if args.remove && wanted.is_empty() {
        let same = |other: &&Standing| {
            (other.scope, &other.key, other.period, &other.time_zone)
                == (scope, &key, period, &args.time_zone)
        };
        wanted = known.iter().filter(same).cloned().collect();
    }
    match wanted.is_empty() {
        true if args.remove => {
            Err(coded(&BudgetsError::NoStanding { known: known.iter().map(said).collect() }))
        }
        true => Err(wrong("what is the limit? Give --max-cost-usd, --max-model-calls, --max-tokens …")),
        false => Ok(wanted),
    }
}
