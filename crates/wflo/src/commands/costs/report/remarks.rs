//! What the table of a report cannot say: bills that were lost, and what somebody should look at.

use wflo_core::money::NanoUsd;

use super::super::anomaly::Anomaly;
use super::super::spending::Spending;
use crate::cli::ReportArgs;
use crate::plain;
use crate::printer::{Printer, money};

/// What the table cannot say. Lost bills stay lost: there is one line for all of them, unless they are asked for.
pub(super) fn print(printer: &Printer, args: &ReportArgs, spending: &Spending, anomalies: &[Anomaly]) {
    let of_runs = spending.uncertain.iter().map(|call| call.effect.uncertain);
    let costs: Vec<NanoUsd> = of_runs.chain(spending.lost.iter().map(|(_, call)| call.cost)).collect();
    if costs.len() > 1 && !args.uncertain {
        let sum = costs.iter().copied().fold(NanoUsd::ZERO, NanoUsd::saturating_add);
        printer.note(format_args!(
            "uncertain: the bills of {} calls were lost, so {} is charged for them; `wflo costs report --uncertain` lists them",
            costs.len(),
            money(sum)
        ));
    } else {
        lost_bills(printer, spending);
    }
    looked_at(printer, anomalies);
}

/// Each call whose bill was lost.
fn lost_bills(printer: &Printer, spending: &Spending) {
    for call in &spending.uncertain {
        printer.note(format_args!(
            "uncertain: {} in {} ({}): a bill of it was lost, so {} is charged for that",
            plain::line(&call.effect.key.to_string()),
            call.run,
            plain::value(&call.effect.attributes["model"]),
            money(call.effect.uncertain)
        ));
    }
    for (process, call) in &spending.lost {
        printer.note(format_args!(
            "uncertain: call {} of gateway {process} ({}): its bill was lost, so {} is charged for it",
            call.seq,
            plain::line(&call.model),
            money(call.cost)
        ));
    }
}

/// What somebody should look at.
fn looked_at(printer: &Printer, anomalies: &[Anomaly]) {
    let name = |model: &Option<String>| model.as_deref().map_or_else(|| "?".to_owned(), plain::line);
    for anomaly in anomalies {
        match anomaly {
            Anomaly::AboveBound { run_id, effect, model, cost_usd, hold_usd } => {
                printer.note(format_args!(
                    "above its bound: {} in {run_id} ({}) was billed {}, where {} was the most that it could cost",
                    plain::line(effect),
                    name(model),
                    money(*cost_usd),
                    money(*hold_usd)
                ));
            }
            Anomaly::DearDay { model, day, cost_usd, usual_usd, .. } => printer.note(format_args!(
                "a dear day: {} cost {} on {day}, where {} was usual",
                name(model),
                money(*cost_usd),
                money(*usual_usd)
            )),
            Anomaly::PriceMoved { model, day, per_million_usd, usual_usd, .. } => {
                printer.note(format_args!(
                    "a price that moved: a million tokens of {} cost {} on {day}, where {} was usual",
                    name(model),
                    money(*per_million_usd),
                    money(*usual_usd)
                ));
            }
        }
    }
}
