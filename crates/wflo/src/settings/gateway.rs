//! `[gateway]`: what browsers may ask of `wflo gateway`, how long it keeps what it was asked for, and whether it
//! logs its calls.

use wflo_proxy::Browsers;

use crate::document::{Field, Problem};

/// How long the record of a call is kept when nothing else is said: somewhat more than a year.
const KEEP_DAYS: u64 = 400;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    /// What browsers may ask.
    pub(crate) browsers: Browsers,
    /// For how many days each call is kept by itself.
    pub(crate) keep_calls_days: u64,
    /// A line for each call.
    pub(crate) log: bool,
}

impl Default for Gateway {
    fn default() -> Gateway {
        Gateway { browsers: Browsers::default(), keep_calls_days: KEEP_DAYS, log: false }
    }
}

impl Gateway {
    pub(super) fn read(field: &Field<'_>) -> Result<Gateway, Problem> {
        let mut reader = field.table()?;
        let mut texts = |key| reader.optional(key).map_or(Ok(Vec::new()), |field| field.texts());
        let browsers = Browsers { origins: texts("allow_origins")?, hosts: texts("allow_hosts")? };
        let days = reader.optional("keep_calls_days").map(|field| field.whole()).transpose()?;
        let log = reader.optional("log").map_or(Ok(false), |field| field.boolean())?;
        reader.finish()?;
        Ok(Gateway { browsers, keep_calls_days: days.unwrap_or(KEEP_DAYS), log })
    }
}
