//! A provider's invoice export: what it says was spent, by day and model.
//!
//! Owns which columns are which, and how their days, models and amounts are read. Nothing is guessed:
//! a file whose columns are not known, or a line that does not read, is refused with its place.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use wflo_core::cost::day_of;
use wflo_core::error::{Code, Coded};
use wflo_core::money::NanoUsd;

use crate::cli::ReconcileArgs;

/// Names that exports give to each column, lower case, the surest first.
const DATES: [&str; 9] = [
    "usage_date_utc",
    "start_time_iso",
    "date",
    "day",
    "usage_date",
    "start_time",
    "starting_at",
    "timestamp",
    "usage start date",
];
const MODELS: [&str; 7] =
    ["model", "model_name", "model_version", "line_item", "sku", "sku description", "description"];
const COSTS: [&str; 9] = [
    "cost_usd",
    "amount_value",
    "cost (usd)",
    "cost_in_usd",
    "total_cost_usd",
    "cost",
    "total_cost",
    "amount",
    "amount_usd",
];
const CURRENCIES: [&str; 3] = ["amount_currency", "currency", "currency_code"];

/// What an invoice holds, in nano-USD.
pub(super) type Lines = BTreeMap<(Date, String), NanoUsd>;

/// A file that cannot be taken for an invoice.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvoiceError {
    #[error("{path} cannot be read: {reason}")]
    Unreadable { path: String, reason: String },
    #[error("no column of {path} is called `{given}`; it has: {}", found.join(", "))]
    NotThere { path: String, given: String, option: &'static str, found: Vec<String> },
    #[error("no column of {path} is known to hold {wanted}; it has: {}", found.join(", "))]
    NoColumn { path: String, wanted: &'static str, option: &'static str, found: Vec<String> },
    #[error("line {line} of {path}: `{given}` is not {wanted}")]
    BadCell { path: String, line: u64, given: String, wanted: &'static str },
}

impl Coded for InvoiceError {
    fn code(&self) -> Code {
        match self {
            InvoiceError::Unreadable { .. } => Code(4095),
            InvoiceError::NoColumn { .. } | InvoiceError::NotThere { .. } => Code(4096),
            InvoiceError::BadCell { .. } => Code(4097),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            InvoiceError::Unreadable { .. } => {
                "Give the CSV file that the provider's cost or usage page exports.".to_owned()
            }
            InvoiceError::NotThere { option, .. } => {
                format!("Name one of them, or leave {option} out where it has a usual name.")
            }
            InvoiceError::NoColumn { option, .. } => format!("Name it: {option} NAME."),
            InvoiceError::BadCell { .. } => {
                "Remove lines that are no charges, such as totals, or name another column.".to_owned()
            }
        })
    }
}

/// Reads an export.
///
/// # Errors
/// [`InvoiceError`].
pub(super) fn read(args: &ReconcileArgs) -> Result<Lines, InvoiceError> {
    let path = args.file.display().to_string();
    let unreadable = |reason: String| InvoiceError::Unreadable { path: path.clone(), reason };
    let bytes = std::fs::read(Path::new(&args.file)).map_err(|error| unreadable(error.to_string()))?;
    // Spreadsheets put a mark before UTF-8.
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let mut table = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let heads: Vec<String> =
        table.headers().map_err(|error| unreadable(error.to_string()))?.iter().map(str::to_owned).collect();
    let find = |given: &Option<String>, known: &[&str]| match given {
        Some(name) => heads.iter().position(|head| head.eq_ignore_ascii_case(name)),
        None => known.iter().find_map(|name| heads.iter().position(|head| head.eq_ignore_ascii_case(name))),
    };
    let column = |given: &Option<String>, known: &[&str], wanted, option| {
        find(given, known).ok_or_else(|| {
            let (path, found) = (path.clone(), heads.clone());
            match given.clone() {
                Some(given) => InvoiceError::NotThere { path, given, option, found },
                None => InvoiceError::NoColumn { path, wanted, option, found },
            }
        })
    };
    let date = column(&args.date_column, &DATES, "days", "--date-column")?;
    let model = column(&args.model_column, &MODELS, "models", "--model-column")?;
    let cost = column(&args.cost_column, &COSTS, "amounts in USD", "--cost-column")?;
    let currency = find(&None, &CURRENCIES);
    let mut lines = Lines::new();
    for record in table.records() {
        let record = record.map_err(|error| unreadable(error.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |column: usize| record.get(column).unwrap_or_default();
        let bad = |column: usize, wanted| InvoiceError::BadCell {
            path: path.clone(),
            line,
            given: cell(column).to_owned(),
            wanted,
        };
        if let Some(currency) = currency
            && !cell(currency).eq_ignore_ascii_case("usd")
        {
            return Err(bad(currency, "USD, and amounts in other currencies cannot be compared"));
        }
        let day = day(cell(date)).ok_or_else(|| bad(date, "a day or a time"))?;
        let amount = amount(cell(cost)).ok_or_else(|| bad(cost, "an amount in USD"))?;
        if args.days.hold(day) {
            let sum = lines.entry((day, plain_name(cell(model)))).or_default();
            *sum = sum.saturating_add(amount);
        }
    }
    Ok(lines)
}

/// A day, the day of a time, or of seconds since 1970; in UTC.
fn day(text: &str) -> Option<Date> {
    let at = || text.parse::<Timestamp>().ok().or_else(|| Timestamp::from_second(text.parse().ok()?).ok());
    let civil = || text.trim_end_matches(" UTC").parse::<DateTime>().ok().map(DateTime::date);
    text.parse().ok().filter(|_| text.len() == "2026-11-01".len()).or_else(|| at().map(day_of)).or_else(civil)
}

/// An amount to the nano-dollar; exports write `$1,234.50`, `0.000012345678` and `1.2e-05`.
fn amount(text: &str) -> Option<NanoUsd> {
    let text: String = text.chars().filter(|c| !matches!(c, '$' | ',' | ' ')).collect();
    let (digits, exponent) = match text.to_ascii_lowercase().split_once('e') {
        Some((digits, exponent)) => (digits.to_owned(), exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.as_str()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || all.len() > 30 || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i128 = all.parse().ok()?;
    let places = 9 + exponent - i32::try_from(fraction.len()).ok()?;
    let nanos = match u32::try_from(places) {
        Ok(places) => number.checked_mul(10_i128.checked_pow(places)?)?,
        // Half a nano-dollar is rounded up.
        Err(_) => 10_i128.checked_pow(places.unsigned_abs()).map_or(0, |unit| (number + unit / 2) / unit),
    };
    let nanos = i64::try_from(nanos).ok()?;
    Some(NanoUsd::from_nanos(if negative { -nanos } else { nanos }))
}

/// What a model is called without its date, and without what an export says beside it: `Claude Sonnet 4.5`
/// is `claude-sonnet-4-5`, and `gpt-5-mini-2025-08-07, input` is `gpt-5-mini`.
pub(super) fn plain_name(text: &str) -> String {
    let name = text.split(", ").next().unwrap_or_default().trim().to_ascii_lowercase();
    let name: String =
        name.chars().map(|c| if matches!(c, ' ' | '.' | '_' | ':' | '@') { '-' } else { c }).collect();
    let is_date = |tail: &str| {
        let digits = tail.bytes().filter(u8::is_ascii_digit).count();
        digits == 8 && tail.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
    };
    for length in ["-2025-08-07".len(), "-20250929".len()] {
        if let Some((rest, tail)) = name.len().checked_sub(length).and_then(|at| name.split_at_checked(at))
            && tail.starts_with('-')
            && is_date(&tail[1..])
        {
            return rest.to_owned();
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_to_the_nano_dollar() {
        let nanos = |text: &str| amount(text).map(NanoUsd::nanos);
        assert_eq!(nanos("$1,234.50"), Some(1_234_500_000_000));
        assert_eq!(nanos("0.0000000015"), Some(2));
        assert_eq!(nanos("1.2e-05"), Some(12_000));
        assert_eq!(nanos("-0.10"), Some(-100_000_000));
        assert_eq!(nanos("3E-40"), Some(0));
        for bad in ["", "-", "1.2.3", "NaN", "12 EUR", "99999999999999999999", "1e99"] {
            assert_eq!(nanos(bad), None, "{bad}");
        }
    }

    #[test]
    fn days_are_read_from_days_and_times() {
        for text in [
            "2026-11-03",
            "2026-11-03T23:59:59Z",
            "2026-11-04T00:30:00+01:00",
            "1793705400",
            "2026-11-03 10:00:00 UTC",
        ] {
            assert_eq!(day(text).map(|day| day.to_string()).as_deref(), Some("2026-11-03"), "{text}");
        }
        assert_eq!(day("total"), None);
        assert_eq!(day(""), None);
    }

    #[test]
    fn one_model_has_one_name() {
        assert_eq!(plain_name("gpt-5-mini-2025-08-07, input"), "gpt-5-mini");
        assert_eq!(plain_name("Claude Sonnet 4.5"), "claude-sonnet-4-5");
        assert_eq!(plain_name("claude-sonnet-4-5-20250929"), "claude-sonnet-4-5");
        assert_eq!(plain_name("gpt-4o"), "gpt-4o");
        assert_eq!(plain_name("моdель"), "моdель");
    }
}
