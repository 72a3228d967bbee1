//! `wflo costs update`: a newer price map for this project.

use serde::Serialize;
use wflo_gateway::price;

use crate::cli::UpdateArgs;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;

/// What is in use afterwards.
#[derive(Serialize)]
struct Updated {
    hash: &'static str,
    /// Whether it was built in or installed.
    from: &'static str,
    models: usize,
    /// The map is another one than before.
    changed: bool,
}

/// Installs a map, or removes the installed one.
pub(crate) fn update(args: &UpdateArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let settings = context.settings(None)?;
    // A damaged map in the way is what an update or a reset puts right.
    let _ = price::load(&settings.data_dir);
    let before = price::about();
    match &args.file {
        Some(file) => price::install(&settings.data_dir, file, args.accept_free)?,
        None => {
            price::reset(&settings.data_dir)?;
        }
    }
    let after = price::about();
    let built_in = after.hash == after.compiled_hash;
    context.printer.object(&Updated {
        hash: after.hash,
        from: if built_in { "built-in" } else { "installed" },
        models: after.models,
        changed: before.hash != after.hash,
    });
    context.printer.line(format_args!(
        "{} models priced by {} map blake3:{}",
        after.models,
        if built_in { "the built-in" } else { "the installed" },
        after.hash
    ));
    Ok(Exit::Success)
}
