//! The command in a sandbox of a cloud.

use wflo_sandbox::{E2b, Spec, e2b};

use crate::cli::ExecArgs;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::settings::CloudSettings;

use super::ends::Ends;
use super::{no_sandbox, remote, usage};

/// Makes the sandbox, waits for the command's end, and keeps its changes where that is asked for.
pub(super) fn run(
    ordered: (Spec, Ends),
    args: &ExecArgs,
    context: &Context<'_>,
) -> Result<Exit, CommandError> {
    let failed = |error: e2b::Error| no_sandbox(error.into());
    if args.workspace.as_ref().is_some_and(|given| given.target.is_some()) {
        let hint = "leave `:TARGET` out: the folder is below /tmp/wflo there";
        return Err(usage("a sandbox of a cloud has its workspace at a place of its own".to_owned(), hint));
    }
    if !args.ro.is_empty() {
        let why = "it sees no folder of this machine";
        return Err(failed(e2b::Error::Unkept { setting: "--ro", why }));
    }
    let settings = CloudSettings::of_template(args.template.clone());
    let cloud = settings.cloud(context.environment).map_err(failed)?;
    let key = settings.key(context.environment).map_err(failed)?;
    let (place, store) = remote::store(args, context)?;
    let program = crate::commands::sandbox::doctor::this_program()?;
    let engine = E2b::start(&program, &cloud, key, &store).map_err(failed)?;
    let done =
        remote::carry_out(ordered, args, context, (place.as_ref(), &store), e2b::TRUSTED, |spec, files| {
            engine.launch(spec, files)
        })?;
    if done.left {
        // Its end would wait for what does not answer.
        std::mem::forget(engine);
    }
    Ok(done.exit)
}
