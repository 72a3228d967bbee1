//! Prices beside those of the map's own project.
//!
//! The cases are a sample of what `scripts/price_differential.py` compared with LiteLLM 1.109.1: generated
//! usage objects over all models of the pinned map, and what both said that they cost.

use serde::Deserialize;
use wflo_core::money::NanoUsd;
use wflo_gateway::dialect::Dialect;
use wflo_gateway::price::{Dimension as D, Tier, bill, known, lookup, resolve, settle};
use wflo_gateway::usage;

#[derive(Deserialize)]
struct Case {
    model: String,
    dialect: Dialect,
    provider: String,
    service_tier: Option<String>,
    usage: serde_json::Value,
    total_usd: NanoUsd,
}

#[test]
fn generated_usage_costs_what_the_maps_own_project_charges() {
    let cases = include_str!("../fixtures/prices.jsonl").lines();
    let mut compared = 0;
    for line in cases {
        let case: Case = serde_json::from_str(line).unwrap();
        let (_, price) = resolve(Some(&case.provider), case.dialect, &case.model).unwrap();
        let mut usage = usage::read(case.dialect, &case.usage).unwrap();
        usage.tier = case.service_tier.as_deref().map(Tier::named).or(usage.tier);
        assert_eq!(settle(&usage, &price), case.total_usd, "{line}");
        compared += 1;
    }
    assert!(compared >= 500, "{compared}");
}

#[test]
fn a_table_of_tiers_and_a_threshold_price_the_request_whole() {
    let price = lookup("gemini", "gemini-2.5-pro").unwrap();
    let cost = |tokens| settle(&usage::Usage::of(&[(D::Input, tokens), (D::Output, 1_000)]), &price).nanos();
    // 1.25 and 10 USD per million up to 200,000 tokens of input, 2.50 and 15 above.
    assert_eq!(cost(200_000), 200_000 * 1_250 + 1_000 * 10_000);
    assert_eq!(cost(200_001), 200_001 * 2_500 + 1_000 * 15_000);
}

#[test]
fn every_rate_of_every_model_can_be_billed_without_overflow() {
    let mut models = 0;
    for known in known() {
        models += 1;
        for tier in Tier::ALL {
            let counts: Vec<(D, u64)> = D::ALL.into_iter().map(|dimension| (dimension, u64::MAX)).collect();
            let mut usage = usage::Usage::of(&counts);
            usage.tier = Some(tier);
            let bill = bill(&usage, &known.price);
            assert!(!bill.total.is_negative(), "{}", known.name);
        }
    }
    assert!(models > 4_000, "{models}");
}

#[test]
fn a_quiet_hour_is_cheaper_where_the_provider_says_so() {
    let price = lookup("deepseek", "deepseek-v4-pro").unwrap();
    // Tuesday 2026-11-24 and Saturday 2026-11-28, 08:30 UTC; Tuesday 10:00 begins the quiet hours.
    let (tuesday, saturday) = (1_795_509_000, 1_795_854_600);
    assert!(!price.is_off_peak(tuesday) && price.is_off_peak(saturday));
    assert!(price.is_off_peak(tuesday + 90 * 60) && !price.is_off_peak(tuesday + 90 * 60 - 1));
    assert_eq!(price.rate(D::Input, Tier::OffPeak, 1) * 2, price.rate(D::Input, Tier::Standard, 1));
    assert!(!lookup("openai", "gpt-5-mini").unwrap().is_off_peak(saturday));
}

/// A model of the second table.
#[derive(Deserialize)]
struct Second {
    provider: String,
    model: String,
    usd_per_million: std::collections::BTreeMap<D, String>,
}

#[test]
fn the_prices_are_those_of_a_second_table_but_for_listed_differences() {
    let mut listed: std::collections::BTreeSet<[&str; 5]> =
        include_str!("../fixtures/second_table_differences.tsv")
            .lines()
            .skip(1)
            .map(|line| {
                let cells: Vec<&str> = line.split('\t').collect();
                assert!(cells.len() == 6 && !cells[5].is_empty(), "a difference has a reason: {line}");
                [cells[0], cells[1], cells[2], cells[3], cells[4]]
            })
            .collect();
    let (mut models, mut equal, mut different) = (0, 0, 0);
    for line in include_str!("../fixtures/second_table.jsonl").lines() {
        let second: Second = serde_json::from_str(line).unwrap();
        let price = lookup(&second.provider, &second.model).unwrap();
        models += 1;
        for (dimension, theirs) in &second.usd_per_million {
            // Femto-USD for one token are nano-USD for a million.
            let ours = price.rate(*dimension, Tier::Standard, 0);
            let same = theirs.parse::<NanoUsd>().is_ok_and(|usd| u64::try_from(usd.nanos()) == Ok(ours));
            if same {
                equal += 1;
                continue;
            }
            different += 1;
            let found = listed
                .iter()
                .find(|row| {
                    let [at, model, kind, usd, _] = **row;
                    (at, model, kind, usd) == (&second.provider, &second.model, dimension.name(), theirs)
                })
                .copied();
            let row = found.unwrap_or_else(|| panic!("{line}: {} is {ours} nano-USD here", dimension.name()));
            assert_eq!(
                row[4].parse::<NanoUsd>().map(NanoUsd::nanos).ok(),
                i64::try_from(ours).ok(),
                "{row:?}"
            );
            listed.remove(&row);
        }
    }
    println!(
        "second table: {models} models; {equal} prices equal, {different} different, each with a reason"
    );
    assert!(listed.is_empty(), "these differ no more: {listed:?}");
    assert!(models > 500 && equal > 1_200, "{models} {equal}");
}
