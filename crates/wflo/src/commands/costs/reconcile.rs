//! `wflo costs reconcile`: what was charged beside a provider's invoice.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde::Serialize;
use wflo_core::cost::Sum;
use wflo_core::money::NanoUsd;

use super::invoice::{self, Lines, plain_name};
use super::spending::Spending;
use crate::cli::{Days, ReconcileArgs};
use crate::commands::{Context, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::printer::{Table, money};
use crate::session::block_on;

/// What two amounts of a day and a model say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// Within the tolerance.
    Equal,
    /// Charged here as the most that lost bills can be; the provider billed less.
    Uncertain,
    /// Both know of it, and they differ.
    Differs,
    /// The invoice alone has it: calls that did not pass here.
    OnlyInvoice,
    /// It was charged here alone: another account's invoice, or one that does not reach so far.
    OnlyWflo,
}

impl Verdict {
    const fn said(self) -> &'static str {
        match self {
            Verdict::Equal => "",
            Verdict::Uncertain => "explained by uncertain charges",
            Verdict::Differs => "differs",
            Verdict::OnlyInvoice => "only on the invoice",
            Verdict::OnlyWflo => "only charged here",
        }
    }

    const fn is_fine(self) -> bool {
        matches!(self, Verdict::Equal | Verdict::Uncertain)
    }
}

/// A day and a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Row {
    day: Date,
    model: String,
    invoice_usd: NanoUsd,
    wflo_usd: NanoUsd,
    /// The part of `wflo_usd` that is uncertain.
    uncertain_usd: NanoUsd,
    /// The invoice less what was charged.
    difference_usd: NanoUsd,
    verdict: Verdict,
}

/// One line with `--json`.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Said<'a> {
    Row(&'a Row),
    Total { invoice_usd: NanoUsd, wflo_usd: NanoUsd, difference_usd: NanoUsd, differing: usize },
}

/// Compares and prints.
pub(crate) fn reconcile(args: &ReconcileArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    args.days.checked()?;
    let billed = invoice::read(args)?;
    let days = covered(args.days, &billed);
    let spending = match pick::session(context)? {
        Some(session) => block_on(Spending::load(&session, None, days))?,
        None => Spending::default(),
    };
    if let Some(name) = args.provider.as_deref()
        && !spending.lines.iter().any(|line| line.spent.provider.as_deref() == Some(name))
    {
        let known = providers(&spending);
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        printer.warning(format_args!(
            "wflo made no calls of the provider {} in these days; it made some of: {known}",
            plain::line(name)
        ));
    }
    let rows = compare(&billed, &charged(&spending, args.provider.as_deref()), args.tolerance);
    let sum = |of: fn(&Row) -> NanoUsd| rows.iter().map(of).fold(NanoUsd::ZERO, NanoUsd::saturating_add);
    let (invoice_usd, wflo_usd) = (sum(|row| row.invoice_usd), sum(|row| row.wflo_usd));
    let difference_usd = invoice_usd.saturating_sub(wflo_usd);
    let differing = rows.iter().filter(|row| !row.verdict.is_fine()).count();
    for row in &rows {
        printer.object(&Said::Row(row));
    }
    printer.object(&Said::Total { invoice_usd, wflo_usd, difference_usd, differing });
    let mut table = Table::new(&["DAY", "MODEL", "INVOICE", "WFLO", "DIFFERENCE", ""]);
    for row in &rows {
        table.row(vec![
            row.day.to_string(),
            plain::short(&row.model, 40),
            money(row.invoice_usd),
            money(row.wflo_usd),
            if row.verdict == Verdict::Equal { String::new() } else { money(row.difference_usd) },
            row.verdict.said().to_owned(),
        ]);
    }
    let all = [invoice_usd, wflo_usd, difference_usd].map(money);
    table.row(["total".to_owned(), String::new()].into_iter().chain(all).chain([String::new()]).collect());
    printer.line(table.within(printer.width(), &[1], &[0]).right(&[2, 3, 4]).omit_empty());
    match (rows.len(), differing) {
        (0, _) => printer.note("Neither the invoice nor wflo has a charge in these days."),
        (_, 0) => printer.note("The invoice and wflo agree."),
        (_, 1) => printer.note("1 line differs."),
        (_, n) => printer.note(format_args!("{n} lines differ.")),
    }
    Ok(if differing == 0 { Exit::Success } else { Exit::Failed })
}

/// The days that are asked about, within those that the invoice has.
fn covered(asked: Days, billed: &Lines) -> Days {
    let first = billed.keys().next().map(|(day, _)| *day);
    let last = billed.keys().next_back().map(|(day, _)| *day);
    Days { since: asked.since.or(first), until: asked.until.or(last) }
}

fn providers(spending: &Spending) -> Vec<String> {
    let named = spending.lines.iter().filter_map(|line| line.spent.provider.as_deref());
    named.collect::<BTreeSet<_>>().into_iter().map(plain::line).collect()
}

fn charged(spending: &Spending, provider: Option<&str>) -> BTreeMap<(Date, String), Sum> {
    let mut sums: BTreeMap<(Date, String), Sum> = BTreeMap::new();
    for line in &spending.lines {
        let spent = &line.spent;
        if provider.is_none_or(|name| spent.provider.as_deref() == Some(name)) {
            let model = plain_name(spent.model.as_deref().unwrap_or("?"));
            sums.entry((spent.day, model)).or_default().add(&spent.sum);
        }
    }
    sums
}

fn compare(billed: &Lines, charged: &BTreeMap<(Date, String), Sum>, tolerance: NanoUsd) -> Vec<Row> {
    let mut keys: Vec<&(Date, String)> = billed.keys().chain(charged.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
        .map(|key| {
            let sum = charged.get(key).copied().unwrap_or_default();
            let invoice_usd = billed.get(key).copied().unwrap_or_default();
            let difference_usd = invoice_usd.saturating_sub(sum.cost);
            let verdict = if difference_usd.nanos().unsigned_abs() <= tolerance.nanos().unsigned_abs() {
                Verdict::Equal
            } else if difference_usd.is_negative()
                && difference_usd.saturating_add(sum.uncertain).saturating_add(tolerance) >= NanoUsd::ZERO
            {
                Verdict::Uncertain
            } else if !charged.contains_key(key) {
                Verdict::OnlyInvoice
            } else if !billed.contains_key(key) {
                Verdict::OnlyWflo
            } else {
                Verdict::Differs
            };
            let (day, model) = key.clone();
            Row {
                day,
                model,
                invoice_usd,
                wflo_usd: sum.cost,
                uncertain_usd: sum.uncertain,
                difference_usd,
                verdict,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_has_its_name() {
        let usd = |text: &str| text.parse::<NanoUsd>().unwrap();
        let day = jiff::civil::date(2026, 11, 1);
        let key = |model: &str| (day, model.to_owned());
        let billed: Lines = [
            ("same", "1.00"),
            ("rounded", "1.00"),
            ("less", "0.40"),
            ("more", "2.00"),
            ("elsewhere", "3.00"),
        ]
        .map(|(model, cost)| (key(model), usd(cost)))
        .into();
        let charge = |cost: &str, uncertain: &str| Sum {
            calls: 1,
            cost: usd(cost),
            uncertain: usd(uncertain),
            ..Sum::default()
        };
        let charged = BTreeMap::from([
            (key("same"), charge("1.00", "0")),
            (key("rounded"), charge("1.005", "0")),
            (key("less"), charge("1.00", "0.60")),
            (key("more"), charge("1.00", "0.60")),
            (key("here"), charge("1.00", "0")),
        ]);
        let rows = compare(&billed, &charged, usd("0.01"));
        let said: Vec<(&str, Verdict)> = rows.iter().map(|row| (row.model.as_str(), row.verdict)).collect();
        assert_eq!(
            said,
            [
                ("elsewhere", Verdict::OnlyInvoice),
                ("here", Verdict::OnlyWflo),
                ("less", Verdict::Uncertain),
                ("more", Verdict::Differs),
                ("rounded", Verdict::Equal),
                ("same", Verdict::Equal),
            ]
        );
    }
}
