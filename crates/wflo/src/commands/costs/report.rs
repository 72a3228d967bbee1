//! `wflo costs report`: the journal's calls added up.

mod remarks;
mod rows;
mod sheet;
mod table;

use serde::Serialize;
use wflo_core::cost::Sum;
use wflo_core::id::RunId;
use wflo_core::money::NanoUsd;

use self::rows::Key;
use super::anomaly::{self, Anomaly};
use super::spending::{Spending, at_of};
use crate::cli::ReportArgs;
use crate::commands::{Context, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::block_on;

/// What a model cost on a day.
#[derive(Serialize)]
struct DayCost {
    day: jiff::civil::Date,
    cost_usd: NanoUsd,
}

/// One line with `--json`.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Said<'a> {
    Row {
        #[serde(flatten)]
        key: &'a Key,
        #[serde(flatten)]
        sum: Sum,
        #[serde(skip_serializing_if = "Option::is_none")]
        days: Option<Vec<DayCost>>,
    },
    /// A call whose bill was lost: it is charged in full.
    Uncertain {
        /// None of calls of the gateway.
        #[serde(skip_serializing_if = "Option::is_none")]
        run_id: Option<RunId>,
        effect: String,
        model: Option<&'a str>,
        cost_usd: NanoUsd,
        uncertain_usd: NanoUsd,
        started_at: jiff::Timestamp,
    },
    /// Something to look at.
    Anomaly {
        #[serde(flatten)]
        anomaly: &'a Anomaly,
    },
    Total {
        #[serde(flatten)]
        sum: Sum,
    },
}

/// Prints the report.
pub(crate) fn report(args: &ReportArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    args.days.checked()?;
    let spending = match pick::session(context)? {
        Some(session) => block_on(Spending::load(&session, args.run.as_ref(), args.days))?,
        None => {
            if !printer.json_wanted() && !args.csv {
                printer.note("No runs yet, so nothing was spent.");
                return Ok(Exit::Success);
            }
            Spending::default()
        }
    };
    let rows = rows::of(args, &spending);
    let anomalies = anomaly::all(&spending);
    if args.csv {
        printer.raw(sheet::csv(args.by, &rows));
        return Ok(Exit::Success);
    }
    let mut total = Sum::default();
    rows.iter().for_each(|row| total.add(&row.sum));
    for row in &rows {
        let days = args
            .by
            .has_trend()
            .then(|| row.series.days().map(|(day, cost_usd)| DayCost { day, cost_usd }).collect::<Vec<_>>());
        printer.object(&Said::Row { key: &row.key, sum: row.sum, days });
    }
    for call in &spending.uncertain {
        printer.object(&Said::Uncertain {
            run_id: Some(call.run),
            effect: call.effect.key.to_string(),
            model: call.model(),
            cost_usd: call.effect.cost,
            uncertain_usd: call.effect.uncertain,
            started_at: call.effect.started_at,
        });
    }
    for (process, call) in &spending.lost {
        printer.object(&Said::Uncertain {
            run_id: None,
            effect: format!("{process}/{}", call.seq),
            model: Some(&call.model),
            cost_usd: call.cost,
            uncertain_usd: call.cost,
            started_at: at_of(call),
        });
    }
    for anomaly in &anomalies {
        printer.object(&Said::Anomaly { anomaly });
    }
    printer.object(&Said::Total { sum: total });
    printer.line(
        table::of(args.by, &rows, total, &spending)
            .within(printer.width(), &[1], &[12, 6, 5, 7, 4, 3, 1])
            .ids(&[0])
            .right(&[2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
            .omit_empty(),
    );
    remarks::print(printer, args, &spending, &anomalies);
    Ok(Exit::Success)
}
