//! `wflo keys list`: each key with what it may do and what was spent with it.

use std::collections::BTreeMap;

use wflo_core::id::KeyId;
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Clock as _;
use wflo_core::ports::store::SliceStore as _;

use super::{at, budget, shown, state};
use crate::commands::{Context, budgets, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::printer::{Table, moment, money};
use crate::session::Session;

pub(super) async fn run(context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    let session = pick::session(context)?;
    let (keys, spent) = match &session {
        Some(session) => (session.store.keys().await?, spent(session).await?),
        None => (Vec::new(), BTreeMap::new()),
    };
    let now = wflo_engine::clock::SystemClock::default().now();
    let heads = ["KEY", "NAME", "BEGINS", "STATE", "BUDGET", "SPENT", "RPM", "MODELS", "EXPIRES"];
    let mut table = Table::new(&heads);
    for key in &keys {
        let spent = spent.get(&key.id).copied().unwrap_or_default();
        printer.object(&shown(key, None, Some(spent), now));
        table.row(vec![
            key.id.to_string(),
            plain::line(&key.name),
            format!("{}…", key.prefix),
            state(key, now).to_owned(),
            key.budget.as_ref().map(budget).unwrap_or_default(),
            money(spent),
            key.requests_per_minute.map(|rpm| rpm.to_string()).unwrap_or_default(),
            match key.metrics {
                true => "(metrics)".to_owned(),
                false => plain::line(&key.models.join(",")),
            },
            key.expires_at.map(moment).unwrap_or_default(),
        ]);
    }
    match keys.is_empty() {
        true => printer.note(
            "No keys: a gateway with this data directory accepts any on 127.0.0.1. `wflo keys create` makes one.",
        ),
        false => {
            let table = table.within(printer.width(), &[1, 7], &[2, 8, 6]).ids(&[0]).times(&[8]);
            printer.line(table.telling(&[1]).right(&[5, 6]).omit_empty());
        }
    }
    if let Some(session) = &session {
        at(session, context);
    }
    Ok(Exit::Success)
}

/// What was charged for the calls with each key, ever.
async fn spent(session: &Session<'_>) -> Result<BTreeMap<KeyId, NanoUsd>, CommandError> {
    budgets::read_logs(session).await?;
    let mut spent: BTreeMap<KeyId, NanoUsd> = BTreeMap::new();
    for line in session.store.calls_lines().await? {
        if let Some(key) = line.key {
            let sum = spent.entry(key).or_default();
            *sum = sum.saturating_add(line.sum.cost);
        }
    }
    Ok(spent)
}
