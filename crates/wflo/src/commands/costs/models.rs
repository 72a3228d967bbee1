//! `wflo costs models`: what has a price.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use wflo_gateway::price::{self, Dimension, Known, Tier};

use super::priced::decimal;
use crate::cli::ModelsArgs;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::printer::Table;

/// One line with `--json`.
#[derive(Serialize)]
struct Model<'a> {
    model: &'a str,
    provider: &'a str,
    kind: &'static str,
    context_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    rates: Vec<Rate>,
}

/// A rate.
#[derive(Serialize)]
struct Rate {
    dimension: &'static str,
    service_tier: &'static str,
    above_input_tokens: u64,
    rate_usd: String,
}

/// `--about`.
#[derive(Serialize)]
struct About {
    hash: &'static str,
    /// Whether it was built in or installed.
    from: &'static str,
    source: String,
    date: Option<&'static str>,
    licence: &'static str,
    models: usize,
    kinds: BTreeMap<&'static str, usize>,
}

/// Lists the models.
pub(crate) fn models(args: &ModelsArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let settings = context.settings(None)?;
    price::load(&settings.data_dir)?;
    let printer = context.printer;
    if args.about {
        about(context);
        return Ok(Exit::Success);
    }
    let filter = args.filter.as_deref().unwrap_or_default().to_ascii_lowercase();
    let asked = |known: &Known| known.provider == filter || known.name.to_ascii_lowercase().contains(&filter);
    let mut table = Table::new(&["MODEL", "PROVIDER", "KIND", "INPUT", "OUTPUT", "CACHED", "CONTEXT"]);
    let mut count = 0;
    for known in price::known().filter(asked) {
        count += 1;
        if printer.json_wanted() {
            printer.object(&full(&known));
            continue;
        }
        let million = |dimension| {
            let femto = known.price.rate(dimension, Tier::Standard, 0);
            if known.price.knows(dimension) { decimal(i128::from(femto), 9) } else { String::new() }
        };
        let cached = if known.price.prices(Dimension::CacheRead) {
            million(Dimension::CacheRead)
        } else {
            String::new()
        };
        table.row(vec![
            plain::line(known.name),
            known.provider.to_owned(),
            known.price.kind.name().to_owned(),
            million(Dimension::Input),
            million(Dimension::Output),
            cached,
            known.price.context_tokens.map(|tokens| tokens.to_string()).unwrap_or_default(),
        ]);
    }
    if count > 0 {
        printer
            .line(table.within(printer.width(), &[0, 1], &[2, 6, 5, 1]).telling(&[0]).right(&[3, 4, 5, 6]));
    }
    printer.note(match count {
        0 => match nearest(&filter).as_slice() {
            [] => "No model of that name has a price.".to_owned(),
            near => format!("No model of that name has a price. Did you mean {}?", near.join(" or ")),
        },
        1 => "1 model.".to_owned(),
        many => format!("{many} models; prices in USD per million tokens."),
    });
    Ok(Exit::Success)
}

/// Names that are close to one that has no price, without what stands before them, the nearest first.
pub(super) fn nearest(name: &str) -> Vec<&'static str> {
    const MOST: usize = 3;
    let name = name.to_ascii_lowercase();
    let own = |known: &Known| known.name.rsplit_once('/').map_or(known.name, |(_, own)| own);
    // A part of a name that was mistyped is as long as the part that was meant.
    let distance = |other: &str| {
        let whole = strsim::damerau_levenshtein(&name, other);
        let parts = other.split(['-', '/', '.']).map(|part| strsim::damerau_levenshtein(&name, part));
        parts.map(|part| part + 1).chain([whole]).min().unwrap_or(usize::MAX)
    };
    let far = name.chars().count() / 4 + 1;
    let names: BTreeSet<&'static str> = price::known().map(|known| own(&known)).collect();
    let mut near: Vec<(usize, &'static str)> = names
        .into_iter()
        .map(|other| (distance(other), other))
        .filter(|(distance, _)| *distance <= far)
        .collect();
    near.sort_unstable();
    near.into_iter().take(MOST).map(|(_, name)| name).collect()
}

fn full(known: &Known) -> Model<'_> {
    Model {
        model: known.name,
        provider: known.provider,
        kind: known.price.kind.name(),
        context_tokens: known.price.context_tokens,
        max_output_tokens: known.price.max_output_tokens,
        rates: known
            .price
            .rates
            .iter()
            .map(|rate| Rate {
                dimension: rate.dimension.name(),
                service_tier: rate.tier.name(),
                above_input_tokens: rate.above,
                rate_usd: decimal(i128::from(rate.femto), 15),
            })
            .collect(),
    }
}

fn about(context: &Context<'_>) {
    let about = price::about();
    let built_in = about.hash == about.compiled_hash;
    let mut kinds = BTreeMap::new();
    for known in price::known() {
        *kinds.entry(known.price.kind.name()).or_insert(0) += 1;
    }
    let said = About {
        hash: about.hash,
        from: if built_in { "built-in" } else { "installed" },
        source: if built_in { about.source.to_owned() } else { "wflo costs update".to_owned() },
        date: built_in.then_some(about.date),
        licence: about.licence,
        models: about.models,
        kinds,
    };
    context.printer.object(&said);
    let mut table = Table::bare();
    for (name, value) in [
        ("hash", format!("blake3:{}", said.hash)),
        ("from", said.from.to_owned()),
        ("source", said.source.clone()),
        ("date", said.date.unwrap_or("not known").to_owned()),
        ("licence", said.licence.to_owned()),
        ("models", said.models.to_string()),
    ] {
        table.row(vec![name.to_owned(), value]);
    }
    for (kind, count) in &said.kinds {
        table.row(vec![format!("  {kind}"), count.to_string()]);
    }
    context.printer.line(table);
}
