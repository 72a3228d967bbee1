//! `[budget]`: what one run of this project may spend.

use wflo_core::money::NanoUsd;

use crate::document::{Field, Kind, Problem};

/// What happens when a call does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// The run ends (exit code 4).
    Halt,
    /// A person is asked for more.
    Ask,
}

impl Exceeded {
    /// Its name in files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Exceeded::Halt => "halt",
            Exceeded::Ask => "ask",
        }
    }
}

/// One budget over a run.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    pub(crate) max_cost: NanoUsd,
    /// Shares of the budget at which an event is recorded, rising, each in (0, 1].
    pub(crate) alert_thresholds: Option<Vec<f64>>,
    pub(crate) on_exceeded: Option<Exceeded>,
    /// Fewest output tokens that a call may be cut down to so that it fits.
    pub(crate) min_output_tokens: Option<u64>,
}

impl Budget {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, Problem> {
        let mut reader = field.table()?;
        let budget = Budget {
            max_cost: read_money(&reader.required("max_cost_usd")?)?,
            alert_thresholds: reader
                .optional("alert_thresholds")
                .map(|field| read_thresholds(&field))
                .transpose()?,
            on_exceeded: reader
                .optional("action_on_exceeded")
                .map(|field| read_action(&field))
                .transpose()?,
            min_output_tokens: reader
                .optional("min_output_tokens")
                .map(|field| read_count(&field))
                .transpose()?,
        };
        reader.finish()?;
        Ok(budget)
    }
}

/// An amount that is not negative.
pub(crate) fn read_money(field: &Field<'_>) -> Result<NanoUsd, Problem> {
    let amount: NanoUsd = field.parse()?;
    if amount.is_negative() { Err(field.wrong("an amount that is not negative")) } else { Ok(amount) }
}

/// A whole number above 0.
pub(crate) fn read_count(field: &Field<'_>) -> Result<u64, Problem> {
    match field.whole()? {
        0 => Err(field.wrong("at least 1")),
        count => Ok(count),
    }
}

/// Rising shares in (0, 1].
pub(crate) fn read_thresholds(field: &Field<'_>) -> Result<Vec<f64>, Problem> {
    let shares = field.numbers()?;
    let in_range = shares.iter().all(|share| *share > 0.0 && *share <= 1.0);
    if in_range && shares.is_sorted_by(|a, b| a < b) {
        Ok(shares)
    } else {
        Err(field.wrong("rising shares between 0 and 1, such as [0.5, 0.9]"))
    }
}

/// `halt` or `ask`; the other two belong to a later release.
pub(crate) fn read_action(field: &Field<'_>) -> Result<Exceeded, Problem> {
    let choices =
        [("halt", Some(Exceeded::Halt)), ("ask", Some(Exceeded::Ask)), ("queue", None), ("downgrade", None)];
    field.choice(&choices)?.ok_or_else(|| {
        let given = field.text().unwrap_or_default();
        field
            .problem(Kind::Later, format!("= \"{given}\" belongs to a later release"))
            .hint("use \"ask\" (a person decides about more money) or \"halt\" (the run ends)")
    })
}
