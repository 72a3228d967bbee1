//! How model calls find their way: `[retry]`, `[aliases]`, `[routes]`, `[breaker]`,
//! `[limits.NAME]`, `[repeats]`, and what `[models.NAME]` and
//! `[providers.NAME]` say of it.
//!
//! Owns the reading; what the settings mean, and their defaults, belong to the gateway, whose types these
//! are.

use std::collections::BTreeMap;
use std::time::Duration;

use wflo_core::size::Millis;
use wflo_gateway::health::Breaker;
use wflo_gateway::limits::Limit;
use wflo_gateway::repeats::{OnRepeat, Repeats};
use wflo_gateway::retry::Retry;
use wflo_gateway::routing::{Detour, Place, Routing, Share, Spread, Strategy, Waits};

use crate::document::{Field, Kind, Problem, Reader, nearest};

/// Providers that the environment may name.
const STANDARD: [&str; 4] = ["openai", "anthropic", "google", "cohere"];

/// What `[models.NAME]` says of routing, with places as they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Detoured {
    fallbacks: Vec<String>,
    context_fallbacks: Vec<String>,
    downgrade: Vec<String>,
    waits: Waits,
}

impl Detoured {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Detoured, Problem> {
        let mut texts = |key| reader.optional(key).map_or(Ok(Vec::new()), |field| field.texts());
        let (fallbacks, context_fallbacks) = (texts("fallbacks")?, texts("context_fallbacks")?);
        let downgrade = texts("downgrade")?;
        Ok(Detoured { fallbacks, context_fallbacks, downgrade, waits: read_waits(reader)? })
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Detoured::default()
    }
}

/// Reads every table of routing.
pub(super) fn read<'a>(
    root: &mut Reader<'_>,
    providers: impl Iterator<Item = &'a str>,
    models: impl Iterator<Item = (&'a str, &'a Detoured)>,
) -> Result<Routing, Problem> {
    let names: Vec<&str> = providers.chain(STANDARD).collect();
    let place = |text: &str| Place::parse(text, |name| names.contains(&name));
    let places = |texts: &[String]| texts.iter().map(|text| place(text)).collect();
    let retry = root.optional("retry").map(|field| read_retry(&field)).transpose()?.unwrap_or_default();
    let mut aliases = BTreeMap::new();
    for (name, field) in root.optional("aliases").map_or(Ok(Vec::new()), |field| field.named())? {
        aliases.insert(name.to_owned(), place(field.name()?));
    }
    let mut routes = BTreeMap::new();
    for (name, field) in root.optional("routes").map_or(Ok(Vec::new()), |field| field.named())? {
        routes.insert(name.to_owned(), read_spread(name, &field)?);
    }
    let models = models.filter(|(_, detour)| !detour.is_empty()).map(|(name, detour)| {
        let detour = Detour {
            fallbacks: places(&detour.fallbacks),
            context_fallbacks: places(&detour.context_fallbacks),
            downgrade: places(&detour.downgrade),
            waits: detour.waits,
        };
        (name.to_owned(), detour)
    });
    let breaker = root.optional("breaker").map(|field| read_breaker(&field)).transpose()?;
    let mut limits = Vec::new();
    for (name, field) in root.optional("limits").map_or(Ok(Vec::new()), |field| field.named())? {
        let limit = read_limit(name, &field)?;
        if let Some(provider) = limit.provider.as_deref().filter(|provider| !names.contains(provider)) {
            let problem = field
                .problem(Kind::WrongValue, format!("names the provider `{provider}`, which is not there"));
            return Err(match nearest(provider, names.iter().copied()) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem,
            });
        }
        limits.push(limit);
    }
    let repeats = root.optional("repeats").map(|field| read_repeats(&field)).transpose()?;
    Ok(Routing { retry, aliases, routes, models: models.collect(), breaker, limits, repeats })
}

/// `[routes."model"]`: the providers that share its calls.
fn read_spread(model: &str, field: &Field<'_>) -> Result<Spread, Problem> {
    let mut reader = field.table()?;
    let words = [
        ("priority", Strategy::Priority),
        ("weighted", Strategy::Weighted),
        ("latency", Strategy::Latency),
        ("cost", Strategy::Cost),
    ];
    let strategy = reader.optional("strategy").map(|field| field.choice(&words)).transpose()?;
    let list = reader.required("targets")?;
    let targets: Vec<Share> =
        list.list()?.iter().map(|target| read_share(model, target)).collect::<Result<_, _>>()?;
    if targets.is_empty() {
        return Err(list.wrong("at least one provider, such as [{ provider = \"openai\" }]"));
    }
    reader.finish()?;
    Ok(Spread { strategy: strategy.unwrap_or_default(), targets })
}

fn read_share(model: &str, field: &Field<'_>) -> Result<Share, Problem> {
    let mut reader = field.table()?;
    let provider = Some(reader.required("provider")?.name()?.to_owned());
    let model = reader.optional("model").map(|field| field.name()).transpose()?.unwrap_or(model).to_owned();
    let weight = reader.optional("weight").map(|field| within(&field, 1, 1_000_000)).transpose()?;
    reader.finish()?;
    Ok(Share { place: Place { provider, model }, weight: weight.unwrap_or(1) })
}

fn read_retry(field: &Field<'_>) -> Result<Retry, Problem> {
    let mut reader = field.table()?;
    let usual = Retry::default();
    let attempts = reader.required("attempts")?;
    let retry = Retry {
        attempts: within(&attempts, 1, 10)?,
        base: span(&mut reader, "first_wait_seconds")?.unwrap_or(usual.base),
        cap: usual.cap,
        longest: span(&mut reader, "longest_wait_seconds")?.unwrap_or(usual.longest),
        unanswered: flag(&mut reader, "unanswered")?,
        extra_percent: number(&mut reader, "extra_percent", 0, 100)?.unwrap_or(usual.extra_percent),
    };
    reader.finish()?;
    Ok(retry)
}

fn read_breaker(field: &Field<'_>) -> Result<Breaker, Problem> {
    let mut reader = field.table()?;
    let usual = Breaker::default();
    let breaker = Breaker {
        failures: number(&mut reader, "failures", 1, 1_000)?.unwrap_or(usual.failures),
        percent: number(&mut reader, "percent", 1, 100)?.unwrap_or(usual.percent),
        window: span(&mut reader, "window_seconds")?.unwrap_or(usual.window),
        open: span(&mut reader, "open_seconds")?.unwrap_or(usual.open),
    };
    reader.finish()?;
    Ok(breaker)
}

/// `[limits.NAME]`: at least one of what it can limit.
fn read_limit(name: &str, field: &Field<'_>) -> Result<Limit, Problem> {
    let mut reader = field.table()?;
    let usual = Limit::new(name);
    let text = |field: Option<Field<'_>>| field.map(|field| field.name().map(str::to_owned)).transpose();
    let above = |field: Option<Field<'_>>| {
        field.map(|field| match field.whole::<u64>()? {
            0 => Err(field.wrong("at least 1")),
            number => Ok(number),
        })
    };
    let limit = Limit {
        provider: text(reader.optional("provider"))?,
        model: text(reader.optional("model"))?,
        per_caller: flag(&mut reader, "per_caller")?,
        requests_per_minute: above(reader.optional("requests_per_minute")).transpose()?,
        tokens_per_minute: above(reader.optional("tokens_per_minute")).transpose()?,
        concurrent: above(reader.optional("concurrent")).transpose()?,
        wait: span(&mut reader, "wait_seconds")?.unwrap_or(usual.wait),
        queue: number(&mut reader, "queue", 0, 100_000)?.map_or(usual.queue, |queue| queue as usize),
        name: usual.name,
    };
    reader.finish()?;
    if limit.requests_per_minute.or(limit.tokens_per_minute).or(limit.concurrent).is_none() {
        let what = "a limit: requests_per_minute, tokens_per_minute or concurrent";
        return Err(field.wrong(what));
    }
    Ok(limit)
}

fn read_repeats(field: &Field<'_>) -> Result<Repeats, Problem> {
    let mut reader = field.table()?;
    let words = [("warn", OnRepeat::Warn), ("halt", OnRepeat::Halt), ("ask", OnRepeat::Ask)];
    let repeats = Repeats {
        same: within(&reader.required("same")?, 2, 64)?,
        near: flag(&mut reader, "near")?,
        action: reader
            .optional("action")
            .map(|field| field.choice(&words))
            .transpose()?
            .unwrap_or(OnRepeat::Warn),
    };
    reader.finish()?;
    Ok(repeats)
}

/// `first_byte_seconds` and `idle_seconds` of a provider or a model.
pub(super) fn read_waits(reader: &mut Reader<'_>) -> Result<Waits, Problem> {
    Ok(Waits { first_byte: span(reader, "first_byte_seconds")?, idle: span(reader, "idle_seconds")? })
}

/// Seconds, or a duration such as `5m`; not zero.
pub(super) fn span(reader: &mut Reader<'_>, key: &'static str) -> Result<Option<Duration>, Problem> {
    let Some(field) = reader.optional(key) else { return Ok(None) };
    match field.parse()? {
        Millis(0) => Err(field.wrong("longer than nothing")),
        Millis(span) => Ok(Some(Duration::from_millis(span))),
    }
}

/// A whole number from `least` to `most`.
fn within(field: &Field<'_>, least: u32, most: u32) -> Result<u32, Problem> {
    match field.whole()? {
        number if (least..=most).contains(&number) => Ok(number),
        _ => Err(field.wrong(format!("from {least} to {most}"))),
    }
}

/// A whole number from `least` to `most`, if it is said.
fn number(reader: &mut Reader<'_>, key: &'static str, least: u32, most: u32) -> Result<Option<u32>, Problem> {
    reader.optional(key).map(|field| within(&field, least, most)).transpose()
}

/// A truth value that is false when it is not said.
fn flag(reader: &mut Reader<'_>, key: &'static str) -> Result<bool, Problem> {
    reader.optional(key).map_or(Ok(false), |field| field.boolean())
}
