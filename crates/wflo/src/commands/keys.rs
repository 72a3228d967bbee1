//! `wflo keys …`: virtual keys of the gateway.

mod list;
mod update;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use wflo_core::budget::Period;
use wflo_core::error::{Code, Failure};
use wflo_core::id::KeyId;
use wflo_core::key::{KeyBudget, KeyChange, KeyRefusal, VirtualKey};
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Clock as _;
use wflo_core::ports::store::{Batch, Op, SliceStore as _, Store as _};
use wflo_proxy::{KeyWish, MadeKey, rotated};

use crate::cli::{CreateKeyArgs, Expiry, KeyPeriod, KeysCommand};
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::printer::money;
use crate::session::{Session, block_on};

/// What `--json` prints of a key.
#[derive(Serialize)]
struct Shown<'a> {
    id: KeyId,
    name: &'a str,
    /// Only where it was just made.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    prefix: &'a str,
    state: &'static str,
    models: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<&'a KeyBudget>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_minute: Option<u32>,
    /// What was charged for calls with it; only where keys are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    spent_usd: Option<NanoUsd>,
    /// It reads metrics, and calls nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    metrics: bool,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Timestamp>,
}

/// Does what is asked with keys.
pub(crate) fn run(command: &KeysCommand, context: &Context<'_>) -> Result<Exit, CommandError> {
    block_on(async {
        match command {
            KeysCommand::Create(args) => create(args, context).await,
            KeysCommand::List => list::run(context).await,
            KeysCommand::Update { key, change } => update::run(key, change, context).await,
            KeysCommand::Revoke { key } => revoke(key, context).await,
            KeysCommand::Rotate { key } => rotate(key, context).await,
        }
    })
}

async fn create(args: &CreateKeyArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    worth_something(args.budget)?;
    let session = Session::open(context, context.settings(None)?)?;
    let now = session.clock.now();
    unused(&session, &args.name, None, now).await?;
    let expires_at = args.expires.map(|when| end(when, now)).transpose()?;
    let wish = KeyWish {
        name: args.name.clone(),
        models: args.models.clone(),
        budget: args.budget.map(|limit| KeyBudget {
            limit,
            period: args.period.into(),
            time_zone: args.time_zone.clone(),
        }),
        labels: args.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect(),
        requests_per_minute: args.rpm,
        metrics: args.metrics,
        expires_at,
    };
    let made = wish.make(&*session.clock).map_err(|error| no_random(&error))?;
    let ops = vec![Op::PutKey(Box::new(made.key.clone()))];
    session.store.commit(Batch { fence: None, ops }).await?;
    show_secret(context, &made, now);
    at(&session, context);
    unknown(&session, &args.models, context);
    Ok(Exit::Success)
}

impl From<KeyPeriod> for Period {
    fn from(period: KeyPeriod) -> Period {
        match period {
            KeyPeriod::Total => Period::Total,
            KeyPeriod::Hour => Period::Hour,
            KeyPeriod::Day => Period::Day,
            KeyPeriod::Week => Period::Week,
            KeyPeriod::Month => Period::Month,
        }
    }
}

fn worth_something(budget: Option<NanoUsd>) -> Result<(), CommandError> {
    if budget != Some(NanoUsd::ZERO) {
        return Ok(());
    }
    let failure = Failure::new(Code(8001), "a key with a budget of 0 could call nothing");
    let hint = "without a budget of its own only the gateway's limits it; `wflo keys revoke` ends a key";
    Err(CommandError::usage(vec![failure.with_hint(hint)]))
}

/// The moment of an end.
fn end(when: Expiry, now: Timestamp) -> Result<Timestamp, CommandError> {
    let at = match when {
        Expiry::At(at) => at,
        Expiry::After(seconds) => {
            let span = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            now.checked_add(span).unwrap_or(Timestamp::MAX)
        }
    };
    if at > now {
        return Ok(at);
    }
    let failure = Failure::new(Code(8001), format!("a key cannot expire at {at}, which is over"));
    Err(CommandError::usage(vec![failure.with_hint("`wflo keys revoke` ends a key at once")]))
}

/// Two good keys of one name are one in reports, in metrics and to `wflo keys`.
async fn unused(
    session: &Session<'_>,
    name: &str,
    own: Option<KeyId>,
    now: Timestamp,
) -> Result<(), CommandError> {
    let keys = session.store.keys().await?;
    let is_other = |key: &&VirtualKey| key.name == name && key.refused(now).is_none() && Some(key.id) != own;
    let Some(other) = keys.iter().find(is_other) else { return Ok(()) };
    let failure = Failure::new(Code(4131), format!("there is a key `{name}` already: {}", other.id));
    let hint = format!("give another --name, or take that one back: `wflo keys revoke {}`", other.id);
    Err(CommandError::usage(vec![failure.with_hint(hint)]))
}

/// Which gateways know the keys: those that run elsewhere do not.
fn at(session: &Session<'_>, context: &Context<'_>) {
    let store = session.storage();
    context
        .printer
        .note(format_args!("Keys are kept in {}, for gateways that start with it.", store.display()));
}

/// Warns of models that no provider of these settings serves: a slip, or a gateway with other settings.
fn unknown(session: &Session<'_>, models: &[String], context: &Context<'_>) {
    // Providers that cannot be used are the gateway's affair.
    let Ok(routes) = session.routes() else { return };
    for model in models.iter().filter(|model| !routes.knows(model)) {
        context.printer.warning(format_args!("no provider here serves a model `{}`", plain::line(model)));
    }
}

async fn change(session: &Session<'_>, id: KeyId, change: KeyChange) -> Result<(), CommandError> {
    let ops = vec![Op::ChangeKey { id, change: Box::new(change) }];
    session.store.commit(Batch { fence: None, ops }).await?;
    Ok(())
}

fn show_secret(context: &Context<'_>, made: &MadeKey, now: Timestamp) {
    let printer = context.printer;
    printer.object(&shown(&made.key, Some(&made.secret), None, now));
    printer.line(&made.secret);
    printer.note(format_args!(
        "Key `{}` ({}). It is shown this once: keep it where its client finds it.",
        plain::line(&made.key.name),
        made.key.id
    ));
}

async fn revoke(which: &str, context: &Context<'_>) -> Result<Exit, CommandError> {
    let session = Session::open(context, context.settings(None)?)?;
    let key = find(&session, which).await?;
    let at = session.clock.now();
    session.store.commit(Batch { fence: None, ops: vec![Op::RevokeKey { id: key.id, at }] }).await?;
    let revoked = VirtualKey { revoked_at: Some(key.revoked_at.unwrap_or(at)), ..key };
    context.printer.object(&shown(&revoked, None, None, at));
    context.printer.line(format_args!("`{}` is good for nothing now.", plain::line(&revoked.name)));
    Ok(Exit::Success)
}

async fn rotate(which: &str, context: &Context<'_>) -> Result<Exit, CommandError> {
    let session = Session::open(context, context.settings(None)?)?;
    let key = find(&session, which).await?;
    let now = session.clock.now();
    if key.refused(now).is_some() {
        let failure = Failure::new(Code(4066), format!("the key `{}` is {}", key.name, state(&key, now)));
        let hint = "make another with `wflo keys create`";
        return Err(CommandError::from_failure(failure.with_hint(hint)));
    }
    let made = rotated(key).map_err(|error| no_random(&error))?;
    change(&session, made.key.id, made.rotation()).await?;
    show_secret(context, &made, now);
    Ok(Exit::Success)
}

/// A key by its id, its name, or how its secret begins.
async fn find(session: &Session<'_>, which: &str) -> Result<VirtualKey, CommandError> {
    let keys = session.store.keys().await?;
    let is_meant = |key: &&VirtualKey| {
        key.id.to_string() == which
            || key.name == which
            || (which.len() >= 12 && which.starts_with(&key.prefix))
    };
    let mut found: Vec<VirtualKey> = keys.iter().filter(is_meant).cloned().collect();
    if found.len() > 1 {
        // Names are used again once their key is gone.
        found.retain(|key| key.revoked_at.is_none());
    }
    match (found.len(), found.pop()) {
        (1, Some(key)) => Ok(key),
        (0, _) => {
            // What was typed may be a key, which is not said again.
            let named = if which.starts_with("sk-") { String::new() } else { format!(": `{which}`") };
            let failure = Failure::new(Code(2002), format!("there is no such key{named}"));
            Err(CommandError::from_failure(failure.with_hint("`wflo keys list` lists them")))
        }
        (many, _) => {
            let failure = Failure::new(Code(8020), format!("{many} keys have the name `{which}`"));
            let ids = keys.iter().filter(is_meant).filter(|key| key.revoked_at.is_none());
            let ids = ids.map(|key| key.id.to_string()).collect::<Vec<_>>().join(", ");
            Err(CommandError::from_failure(failure.with_hint(format!("name the one by its id: {ids}"))))
        }
    }
}

fn shown<'a>(
    key: &'a VirtualKey,
    secret: Option<&'a str>,
    spent_usd: Option<NanoUsd>,
    now: Timestamp,
) -> Shown<'a> {
    Shown {
        id: key.id,
        name: &key.name,
        key: secret,
        prefix: &key.prefix,
        state: state(key, now),
        models: &key.models,
        budget: key.budget.as_ref(),
        labels: &key.labels,
        requests_per_minute: key.requests_per_minute,
        spent_usd,
        metrics: key.metrics,
        created_at: key.created_at,
        expires_at: key.expires_at,
        revoked_at: key.revoked_at,
    }
}

fn state(key: &VirtualKey, now: Timestamp) -> &'static str {
    match key.refused(now) {
        None => "active",
        Some(KeyRefusal::Expired) => "expired",
        Some(KeyRefusal::Revoked) => "revoked",
    }
}

fn budget(budget: &KeyBudget) -> String {
    let each = match budget.period {
        Period::Total => "",
        Period::Hour => "/hour",
        Period::Day => "/day",
        Period::Week => "/week",
        Period::Month => "/month",
    };
    let zone = if budget.time_zone.is_utc() { String::new() } else { format!(" ({})", budget.time_zone) };
    format!("{}{each}{zone}", money(budget.limit))
}

fn no_random(error: &std::io::Error) -> CommandError {
    CommandError::from_failure(Failure::new(Code(9005), format!("the system gives no random bytes: {error}")))
}
