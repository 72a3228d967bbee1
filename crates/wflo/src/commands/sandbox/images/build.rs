//! `wflo sandbox images build`.

use serde::Serialize;
use wflo_core::error::{Code, Failure};
use wflo_engine::images::{Building, Record};

use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::trust;

use super::{counted, provide, short, wants};

/// Nothing is asked for.
const NOTHING: Code = Code(5338);

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    built: bool,
    #[serde(flatten)]
    image: super::list::Line<'a>,
}

pub(super) async fn run(again: bool, context: &Context<'_>) -> Result<Exit, CommandError> {
    let settings = context.settings(None)?;
    trust::settle(context, &settings, &[], false)?;
    let building = if again { Building::Again } else { Building::WhereMissing };
    if !wants(&settings) {
        let hint = "name them in wflo.toml: requirements = \"requirements.txt\" or packages = [\"jq\"] under [sandbox]";
        let failure = Failure::new(NOTHING, "wflo.toml names no packages for steps").with_hint(hint);
        return Err(CommandError::usage(vec![failure]));
    }
    let installed = provide(context, &settings, building, true).await?;
    let system = installed.system.as_ref().map(|system| (&system.record, system.built));
    let python = installed.python.as_ref().map(|ready| (&ready.record, ready.built));
    for (record, built) in system.into_iter().chain(python) {
        report(record, built, again, context);
    }
    Ok(Exit::Success)
}

fn report(record: &Record, built: bool, again: bool, context: &Context<'_>) {
    let printer = context.printer;
    printer.object(&Report { built, image: super::list::line(record, true) });
    if !built && again {
        printer.note(format_args!("Another wflo has looked at the index meanwhile ({}).", short(record)));
    } else if !built {
        printer.note(format_args!("{} there already ({}).", is_are(record.packages.len()), short(record)));
    }
    for package in &record.packages {
        printer.line(plain::line(package));
    }
}

fn is_are(count: usize) -> String {
    format!("{} {}", counted(count), if count == 1 { "is" } else { "are" })
}
