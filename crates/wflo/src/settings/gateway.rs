//! `[gateway]`: what browsers may ask of `wflo gateway`.

use wflo_proxy::Browsers;

use crate::document::{Field, Problem};

pub(super) fn read(field: &Field<'_>) -> Result<Browsers, Problem> {
    let mut reader = field.table()?;
    let mut texts = |key| reader.optional(key).map_or(Ok(Vec::new()), |field| field.texts());
    let browsers = Browsers { origins: texts("allow_origins")?, hosts: texts("allow_hosts")? };
    reader.finish()?;
    Ok(browsers)
}
