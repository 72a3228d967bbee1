//! What stands out of the costs: bills above their bound, dear days, prices that moved.
//!
//! Owns the rules, each simple enough to be said in a line of the guide. A model needs some days of
//! calls before anything is said of its next one.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Serialize;
use wflo_core::cost::Sum;
use wflo_core::id::RunId;
use wflo_core::money::NanoUsd;

use super::spending::{Line, Spending};

/// Days with calls that a model must have had before.
const BEFORE: usize = 5;
/// A day that costs this many times the usual one stands out.
const DEAR: i128 = 3;
/// A price per token that is this share of the usual one, either way, stands out, in percent.
const MOVED: i128 = 150;

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Anomaly {
    /// A call was billed more than it could cost.
    AboveBound { run_id: RunId, effect: String, model: Option<String>, cost_usd: NanoUsd, hold_usd: NanoUsd },
    /// A model cost far more than on its usual day.
    DearDay {
        provider: Option<String>,
        model: Option<String>,
        day: Date,
        cost_usd: NanoUsd,
        usual_usd: NanoUsd,
    },
    /// A million tokens of a model cost more, or less, than they used to: another price, another share of
    /// cached input, or longer answers.
    PriceMoved {
        provider: Option<String>,
        model: Option<String>,
        day: Date,
        per_million_usd: NanoUsd,
        usual_usd: NanoUsd,
    },
}

/// All of them, bills above their bounds first, then by model and day.
pub(super) fn all(spending: &Spending) -> Vec<Anomaly> {
    let mut found: Vec<Anomaly> = spending
        .overshot
        .iter()
        .map(|call| Anomaly::AboveBound {
            run_id: call.run,
            effect: call.effect.key.to_string(),
            model: call.model().map(str::to_owned),
            cost_usd: call.billed(),
            hold_usd: call.hold().unwrap_or_default(),
        })
        .collect();
    for ((provider, model), days) in by_model(&spending.lines) {
        found.extend(of_model(provider.as_deref(), model.as_deref(), &days));
    }
    found
}

type Model = (Option<String>, Option<String>);

fn by_model(lines: &[Line]) -> BTreeMap<Model, BTreeMap<Date, Sum>> {
    let mut models: BTreeMap<Model, BTreeMap<Date, Sum>> = BTreeMap::new();
    for Line { spent, .. } in lines {
        let days = models.entry((spent.provider.clone(), spent.model.clone())).or_default();
        days.entry(spent.day).or_default().add(&spent.sum);
    }
    models
}

fn of_model(provider: Option<&str>, model: Option<&str>, days: &BTreeMap<Date, Sum>) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let (mut costs, mut rates): (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
    for (day, sum) in days {
        let (provider, model) = (provider.map(str::to_owned), model.map(str::to_owned));
        // A lost bill is charged as the most that it can be, which says nothing of prices.
        let sure = sum.cost.saturating_sub(sum.uncertain);
        let cost = sure.nanos();
        if let Some(usual) = usual(&costs).filter(|usual| i128::from(cost) >= i128::from(*usual) * DEAR) {
            let usual_usd = NanoUsd::from_nanos(usual);
            found.push(Anomaly::DearDay {
                provider: provider.clone(),
                model: model.clone(),
                day: *day,
                cost_usd: sure,
                usual_usd,
            });
        }
        costs.push(cost);
        let Some(rate) = per_million(sure, sum.input_tokens.saturating_add(sum.output_tokens)) else {
            continue;
        };
        let moved = |usual: &i64| {
            let (rate, usual) = (i128::from(rate), i128::from(*usual));
            rate * 100 >= usual * MOVED || usual * 100 >= rate * MOVED
        };
        if let Some(usual) = usual(&rates).filter(moved) {
            let (per_million_usd, usual_usd) = (NanoUsd::from_nanos(rate), NanoUsd::from_nanos(usual));
            found.push(Anomaly::PriceMoved { provider, model, day: *day, per_million_usd, usual_usd });
        }
        rates.push(rate);
    }
    found
}

/// The median of the days before, once there are enough of them and it is not nothing.
fn usual(before: &[i64]) -> Option<i64> {
    if before.len() < BEFORE {
        return None;
    }
    let mut sorted = before.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().filter(|usual| *usual > 0)
}

fn per_million(cost: NanoUsd, tokens: u64) -> Option<i64> {
    if tokens == 0 {
        return None;
    }
    i64::try_from(i128::from(cost.nanos()) * 1_000_000 / i128::from(tokens)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(costs: &[(i64, u64)]) -> BTreeMap<Date, Sum> {
        let day = |(n, (cost, tokens)): (usize, &(i64, u64))| {
            let sum =
                Sum { calls: 1, input_tokens: *tokens, cost: NanoUsd::from_nanos(*cost), ..Sum::default() };
            (jiff::civil::date(2026, 11, n as i8 + 1), sum)
        };
        costs.iter().enumerate().map(day).collect()
    }

    #[test]
    fn a_day_like_the_others_says_nothing() {
        let usual = days(&[(100, 10), (110, 11), (90, 9), (100, 10), (100, 10), (290, 29), (10, 1)]);
        assert_eq!(of_model(None, Some("m"), &usual), Vec::new());
    }

    #[test]
    fn a_dear_day_and_a_moved_price_are_told_apart() {
        let before = [(100, 10); 5];
        let more = days(&[&before[..], &[(300, 30)]].concat());
        assert!(matches!(of_model(None, None, &more)[..], [Anomaly::DearDay { .. }]));
        let dearer = days(&[&before[..], &[(150, 10)]].concat());
        assert!(matches!(of_model(None, None, &dearer)[..], [Anomaly::PriceMoved { .. }]));
        let cheaper = days(&[&before[..], &[(60, 10)]].concat());
        assert!(matches!(of_model(None, None, &cheaper)[..], [Anomaly::PriceMoved { .. }]));
    }

    #[test]
    fn a_new_model_has_no_usual_day() {
        assert_eq!(of_model(None, None, &days(&[(1, 1), (1_000, 1)])), Vec::new());
    }
}
