//! One line of the table.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::Outcome;
use crate::samples::Samples;

/// A figure, what stands beside it, and what is wanted.
pub(crate) struct Row {
    section: &'static str,
    what: String,
    unit: &'static str,
    value: Samples,
    beside: Option<(String, f64)>,
    wanted: Option<String>,
    note: Option<String>,
}

impl Row {
    /// A figure with one sample a round.
    pub(crate) fn new(
        section: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        value: Samples,
    ) -> Row {
        Row { section, what: what.into(), unit, value, beside: None, wanted: None, note: None }
    }

    /// The floor or peer that the ratio is taken to, measured in the same run.
    pub(crate) fn beside(mut self, name: impl Into<String>, value: f64) -> Row {
        self.beside = Some((name.into(), value));
        self
    }

    /// What the project asks of this figure.
    pub(crate) fn wanted(mut self, text: impl Into<String>) -> Row {
        self.wanted = Some(text.into());
        self
    }

    /// What a reader must know.
    pub(crate) fn note(mut self, text: impl Into<String>) -> Row {
        self.note = Some(text.into());
        self
    }

    fn json(&self) -> Value {
        let value = self.value.median();
        json!({
            "section": self.section,
            "what": self.what,
            "unit": self.unit,
            "value": value,
            "low": self.value.low(),
            "high": self.value.high(),
            "rounds": self.value.len(),
            "beside": self.beside.as_ref().map(|(name, _)| name),
            "floor": self.beside.as_ref().map(|(_, floor)| floor),
            "ratio": self.beside.as_ref().filter(|(_, floor)| *floor != 0.0).map(|(_, floor)| value / floor),
            "wanted": self.wanted,
            "note": self.note,
        })
    }
}

/// One JSON object a line on standard output.
pub(crate) fn print(rows: &[Row]) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    for row in rows {
        writeln!(out, "{}", row.json())?;
    }
    Ok(())
}
