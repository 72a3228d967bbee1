//! `wflo costs price`: what a usage object costs.

use std::io::{BufRead, IsTerminal as _, Read};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wflo_core::error::{Code, Coded, Failure};
use wflo_gateway::dialect::Dialect;
use wflo_gateway::price::{self, ModelSettings, Price, Tier};
use wflo_gateway::usage;

use super::models::nearest;
use super::priced::Priced;
use crate::cli::PriceArgs;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::{CliError, CommandError};
use crate::plain;
use crate::printer::{Printer, Table};
use crate::settings::Settings;

/// Why something has no price.
#[derive(Debug, thiserror::Error)]
enum PricingError {
    #[error("{} has no price{}", model, at.as_deref().map(|at| format!(" at {at}")).unwrap_or_default())]
    Unpriced { model: String, at: Option<String>, near: Option<&'static str> },
    #[error("the usage says nothing that {} bills", dialect.name())]
    Unreadable { dialect: Dialect },
    #[error("{file} is no JSON: {reason}")]
    NoJson { file: String, reason: String },
    #[error("the line is no call: {0}")]
    NoCall(String),
    #[error(transparent)]
    Settings(#[from] price::PriceError),
}

impl Coded for PricingError {
    fn code(&self) -> Code {
        match self {
            PricingError::Unpriced { .. } => Code(4042),
            PricingError::Unreadable { .. } | PricingError::NoJson { .. } => Code(4043),
            PricingError::NoCall(_) => Code(4044),
            PricingError::Settings(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            PricingError::Unpriced { near: Some(near), model, .. } => Some(format!(
                "The map prices {model} at {near}: write --provider {near}, or price it under [models] in wflo.toml."
            )),
            PricingError::Unpriced { model, at: None, .. } if !nearest(model).is_empty() => {
                Some(format!("did you mean {}?", nearest(model).join(" or ")))
            }
            PricingError::Unpriced { .. } => Some(
                "`wflo costs models` lists what has a price; [models] in wflo.toml prices anything else."
                    .to_owned(),
            ),
            PricingError::Unreadable { dialect } => Some(format!(
                "Give it the usage object of an answer in the {} dialect, with whole counts of zero or more.",
                dialect.name()
            )),
            PricingError::NoJson { .. } => Some(
                "Give it the answer of a provider, or the `usage` object of one.".to_owned(),
            ),
            PricingError::NoCall(_) => Some(
                r#"Write {"model": …, "dialect": "openai", "usage": {…}}, and "provider" and "service_tier" where needed."#
                    .to_owned(),
            ),
            PricingError::Settings(error) => error.hint(),
        }
    }
}

/// One line of a batch.
#[derive(Deserialize)]
struct Line {
    model: String,
    #[serde(default)]
    dialect: Option<Dialect>,
    #[serde(default)]
    provider: Option<String>,
    #[serde(default)]
    service_tier: Option<String>,
    usage: Value,
}

/// What is priced.
struct Call {
    model: String,
    dialect: Dialect,
    provider: Option<String>,
    service_tier: Option<String>,
    usage: Value,
}

/// A line that has no price.
#[derive(Serialize)]
struct Failed {
    line: usize,
    model: Option<String>,
    error: Failure,
}

/// Prices one usage, or each of a batch.
pub(crate) fn price(args: &PriceArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let settings = context.settings(None)?;
    price::load(&settings.data_dir)?;
    if let Some(batch) = &args.batch {
        let file = if batch.as_os_str() == "-" { &args.usage } else { batch };
        return each(file, args, &settings, context.printer);
    }
    let (Some(model), Some(dialect)) = (args.model.clone(), args.dialect) else {
        return Err(PricingError::NoCall("it names no model".to_owned()).into());
    };
    if args.usage.as_os_str() == "-" && std::io::stdin().is_terminal() {
        context.printer.note("Reading a usage object from standard input; Ctrl-D ends it.");
    }
    let mut text = String::new();
    open(&args.usage)?.read_to_string(&mut text).map_err(|source| unreadable(&args.usage, source))?;
    let usage = serde_json::from_str(&text)
        .map_err(|error| PricingError::NoJson { file: shown(&args.usage), reason: error.to_string() })?;
    let call = Call {
        model,
        dialect,
        provider: args.provider.clone(),
        service_tier: args.service_tier.clone(),
        usage,
    };
    let priced = one(&call, args.at.map(Timestamp::as_second), &settings)?;
    context.printer.object(&priced);
    show(&priced, context.printer);
    Ok(Exit::Success)
}

/// Every line by itself: one that has no price stops none of the others.
fn each(file: &Path, args: &PriceArgs, settings: &Settings, printer: &Printer) -> Result<Exit, CommandError> {
    for (at, line) in open(file)?.lines().enumerate() {
        let line = line.map_err(|source| unreadable(file, source))?;
        if line.trim().is_empty() {
            continue;
        }
        let number = at + 1;
        let read: Result<Line, _> = serde_json::from_str(&line);
        let mut model = None;
        let priced = read.map_err(|error| PricingError::NoCall(error.to_string())).and_then(|line| {
            model = Some(line.model.clone());
            let dialect = line.dialect.or(args.dialect);
            let dialect =
                dialect.ok_or_else(|| PricingError::NoCall("missing field `dialect`".to_owned()))?;
            let call = Call {
                model: line.model,
                dialect,
                provider: line.provider.or_else(|| args.provider.clone()),
                service_tier: line.service_tier.or_else(|| args.service_tier.clone()),
                usage: line.usage,
            };
            one(&call, args.at.map(Timestamp::as_second), settings)
        });
        let said = match priced {
            Ok(priced) => serde_json::to_string(&Priced { line: Some(number), ..priced }),
            Err(error) => serde_json::to_string(&Failed { line: number, model, error: error.to_failure() }),
        };
        // A batch is read by programs, whether or not they ask for JSON.
        printer.raw(format_args!("{}\n", said.unwrap_or_default()));
        if printer.is_closed() {
            break;
        }
    }
    Ok(Exit::Success)
}

fn one(call: &Call, at: Option<i64>, settings: &Settings) -> Result<Priced, PricingError> {
    let (provider, price) = price_of(call, settings)?;
    let mut usage =
        usage::read(call.dialect, &call.usage).ok_or(PricingError::Unreadable { dialect: call.dialect })?;
    if let Some(tier) = call.service_tier.as_deref().filter(|tier| !tier.eq_ignore_ascii_case("auto")) {
        let named = Tier::served(tier);
        usage.tier =
            Some(named.ok_or_else(|| PricingError::NoCall(format!("no service tier is called {tier}")))?);
    }
    if at.is_some_and(|at| price.is_off_peak(at)) && usage.tier != Some(Tier::Batch) {
        usage.tier = Some(Tier::OffPeak);
    }
    let bill = price::bill(&usage, &price);
    Ok(Priced::of(&call.model, &provider, usage.tier.unwrap_or_default(), &price, &bill))
}

/// The operator's price, else the map's.
fn price_of(call: &Call, settings: &Settings) -> Result<(String, Price), PricingError> {
    let told = call.provider.as_deref();
    if let Some(own) = settings.models.get(&call.model) {
        let provider = own.provider.as_deref().or(told).unwrap_or(call.dialect.name());
        if told.is_none_or(|told| own.provider.is_none() || told == provider) {
            let settings: ModelSettings = own.priced();
            if let Some(price) = settings.price(provider, &call.model)? {
                return Ok((provider.to_owned(), price));
            }
        }
    }
    let found = price::resolve(told, call.dialect, &call.model);
    found.map(|(provider, price)| (told.unwrap_or(provider).to_owned(), price)).ok_or_else(|| {
        PricingError::Unpriced {
            model: call.model.clone(),
            at: call.provider.clone(),
            near: price::suggestion(&call.model).map(|(provider, _, _)| provider),
        }
    })
}

fn show(priced: &Priced, printer: &Printer) {
    let mut table = Table::new(&["DIMENSION", "COUNT", "RATE (USD)", "COST (USD)"]);
    for counted in &priced.dimensions {
        table.row(vec![
            counted.dimension.to_owned(),
            counted.count.clone(),
            counted.rate_usd.clone(),
            counted.cost_usd.clone(),
        ]);
    }
    for factor in &priced.factors {
        table.row(vec![factor.name.to_owned(), String::new(), format!("× {}", factor.factor), String::new()]);
    }
    if let Some(reported) = &priced.reported_usd {
        table.row(vec![
            "reported by the provider".to_owned(),
            String::new(),
            String::new(),
            reported.clone(),
        ]);
    }
    table.row(vec!["total".to_owned(), String::new(), String::new(), priced.total_usd.to_string()]);
    printer.line(table.within(printer.width(), &[0], &[]).right(&[1, 2, 3]));
    let tier =
        if priced.service_tier == "standard" { String::new() } else { format!(", {}", priced.service_tier) };
    printer.note(format_args!("{} at {}{tier}.", plain::short(&priced.model, 80), priced.provider));
    if !priced.unpriced.is_empty() {
        printer.warning(format_args!("without a price: {}", priced.unpriced.join(", ")));
    }
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, CommandError> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(std::io::BufReader::new(std::io::stdin())));
    }
    let file = std::fs::File::open(path).map_err(|source| unreadable(path, source))?;
    Ok(Box::new(std::io::BufReader::new(file)))
}

fn shown(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}

fn unreadable(path: &Path, source: std::io::Error) -> CommandError {
    CliError::File { path: path.display().to_string(), source }.into()
}
