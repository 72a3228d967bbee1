//! `wflo keys update`: what a key may do, without another secret.
//!
//! A key keeps its name: the budgets that people set for it, its account of what it spent, metrics and reports
//! know it by that.

use jiff::Timestamp;
use wflo_core::error::{Code, Failure};
use wflo_core::key::{KeyBudget, KeyChange, VirtualKey};
use wflo_core::ports::clock::Clock as _;

use super::{at, budget, change, end, find, shown, state, unknown, unused, worth_something};
use crate::cli::UpdateKeyArgs;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::printer::moment;
use crate::session::Session;

pub(super) async fn run(
    which: &str,
    args: &UpdateKeyArgs,
    context: &Context<'_>,
) -> Result<Exit, CommandError> {
    worth_something(args.budget)?;
    let session = Session::open(context, context.settings(None)?)?;
    let key = find(&session, which).await?;
    let now = session.clock.now();
    if key.revoked_at.is_some() {
        let failure = Failure::new(Code(4066), format!("the key `{}` is {}", key.name, state(&key, now)));
        let hint = "make another with `wflo keys create`";
        return Err(CommandError::from_failure(failure.with_hint(hint)));
    }
    let wanted = wanted(args, &key, now)?;
    if wanted == KeyChange::default() {
        let failure = Failure::new(Code(8001), "nothing is named that is to be another");
        let hint = "name what to change, such as --budget 10 or --expires 30d";
        return Err(CommandError::usage(vec![failure.with_hint(hint)]));
    }
    let changed = wanted.clone().of(key.clone());
    if key.refused(now).is_some() && changed.refused(now).is_none() {
        unused(&session, &key.name, Some(key.id), now).await?;
    }
    let said = said(&wanted, &changed);
    change(&session, key.id, wanted).await?;
    context.printer.object(&shown(&changed, None, None, now));
    context.printer.line(format_args!("`{}` has {}.", plain::line(&key.name), plain::line(&said.join(", "))));
    at(&session, context);
    unknown(&session, &args.models, context);
    Ok(Exit::Success)
}

fn wanted(args: &UpdateKeyArgs, key: &VirtualKey, now: Timestamp) -> Result<KeyChange, CommandError> {
    let names_budget = args.budget.is_some() || args.period.is_some() || args.time_zone.is_some();
    let budget = match (names_budget, args.no_budget) {
        (true, _) => Some(Some(of_budget(args, key)?)),
        (false, true) => Some(None),
        (false, false) => None,
    };
    let expires_at = match args.expires {
        Some(when) => Some(Some(end(when, now)?)),
        None => args.no_expiry.then_some(None),
    };
    Ok(KeyChange {
        secret: None,
        models: (args.all_models || !args.models.is_empty()).then(|| args.models.clone()),
        budget,
        labels: args.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect(),
        without_labels: args.no_labels.clone(),
        requests_per_minute: args.rpm.map(Some).or(args.no_rpm.then_some(None)),
        expires_at,
    })
}

/// The budget that it has, with what is said of it.
fn of_budget(args: &UpdateKeyArgs, key: &VirtualKey) -> Result<KeyBudget, CommandError> {
    let before = key.budget.as_ref();
    let Some(limit) = args.budget.or(before.map(|before| before.limit)) else {
        let failure = Failure::new(Code(8001), format!("the key `{}` has no budget of its own", key.name));
        return Err(CommandError::usage(vec![failure.with_hint("say how much, too: --budget USD")]));
    };
    Ok(KeyBudget {
        limit,
        period: args.period.map_or_else(|| before.map(|b| b.period).unwrap_or_default(), Into::into),
        time_zone: args
            .time_zone
            .clone()
            .or_else(|| before.map(|before| before.time_zone.clone()))
            .unwrap_or_default(),
    })
}

/// What was changed, as it is now.
fn said(change: &KeyChange, now: &VirtualKey) -> Vec<String> {
    let mut said = Vec::new();
    if change.budget.is_some() {
        let own = now.budget.as_ref();
        said.push(
            own.map_or_else(
                || "no budget of its own".to_owned(),
                |own| format!("a budget of {}", budget(own)),
            ),
        );
    }
    if change.models.is_some() {
        said.push(match now.models.is_empty() {
            true => "every model".to_owned(),
            false => format!("the models {}", now.models.join(",")),
        });
    }
    if !change.labels.is_empty() || !change.without_labels.is_empty() {
        let labels: Vec<String> = now.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        said.push(match labels.is_empty() {
            true => "no label".to_owned(),
            false => format!("the labels {}", labels.join(",")),
        });
    }
    if change.requests_per_minute.is_some() {
        said.push(match now.requests_per_minute {
            Some(rpm) => format!("room for {rpm} requests a minute"),
            None => "no limit on its pace".to_owned(),
        });
    }
    if change.expires_at.is_some() {
        said.push(match now.expires_at {
            Some(at) => format!("time until {}", moment(at)),
            None => "no end".to_owned(),
        });
    }
    said
}
