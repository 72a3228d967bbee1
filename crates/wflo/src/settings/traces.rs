//! `[traces]`: what is kept of model calls, and what leaves with an exported trace.

use crate::document::{Field, Problem};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traces {
    /// What is asked of models is kept in the store.
    pub(crate) content: bool,
    /// An exported trace has what was asked and answered.
    pub(crate) export_content: bool,
}

impl Default for Traces {
    fn default() -> Self {
        Traces { content: true, export_content: false }
    }
}

impl Traces {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, Problem> {
        let mut reader = field.table()?;
        let standard = Traces::default();
        let traces = Traces {
            content: reader.optional("content").map_or(Ok(standard.content), |field| field.boolean())?,
            export_content: reader
                .optional("export_content")
                .map_or(Ok(standard.export_content), |field| field.boolean())?,
        };
        reader.finish()?;
        Ok(traces)
    }
}
