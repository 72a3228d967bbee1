//! `[approvals]`: what people are asked about whatever a run says.

use wflo_core::size::Millis;

use super::read_seconds;
use crate::document::{Field, Kind, Problem};

/// What is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Approvals {
    /// Commands that are asked about before they start, as patterns in which `*` is any characters.
    pub(crate) commands: Vec<String>,
    /// For how long a call of a program is held while people are asked about its budget; the engine's where
    /// nothing is said.
    pub(crate) budget_timeout: Option<Millis>,
}

impl Approvals {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, Problem> {
        let mut reader = field.table()?;
        let mut approvals = Approvals::default();
        if let Some(field) = reader.optional("commands") {
            approvals.commands = field.texts()?;
            // One that can name no command would ask about nothing, and look as if it did.
            let is_none = |rule: &String| {
                let words = rule.split(' ').collect::<Vec<_>>();
                words.contains(&"") || rule.chars().any(|c| c.is_control())
            };
            if let Some(rule) = approvals.commands.iter().find(|rule| is_none(rule)) {
                let problem =
                    field.problem(Kind::WrongValue, format!(": `{}` names no command", rule.escape_debug()));
                return Err(problem.hint(
                    "write its words with one space between them, `*` for any characters, such as \"git push *\"",
                ));
            }
        }
        approvals.budget_timeout =
            reader.optional("budget_timeout_seconds").map(|field| read_seconds(&field)).transpose()?;
        reader.finish()?;
        Ok(approvals)
    }
}
