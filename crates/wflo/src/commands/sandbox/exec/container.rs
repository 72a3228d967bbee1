//! The command in a container of its own.

use wflo_sandbox::docker::{self, Options};
use wflo_sandbox::{Docker, Spec};

use crate::cli::ExecArgs;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;

use super::ends::Ends;
use super::{network, no_sandbox, remote};

/// Makes the container, waits for its end, and keeps its changes where that is asked for.
pub(super) fn run(
    ordered: (Spec, Ends),
    args: &ExecArgs,
    context: &Context<'_>,
) -> Result<Exit, CommandError> {
    let failed = |error: docker::Error| no_sandbox(error.into());
    let options = Options { image: args.image.clone(), runtime: args.runtime.clone(), ..Options::default() };
    let host = docker_host(context);
    let image = docker::resolve(&host, &options, &context.environment.all()).map_err(failed)?;
    let (place, store) = remote::store(args, context)?;
    let program = crate::commands::sandbox::doctor::this_program()?;
    let engine = Docker::start(&program, &host, &store, &options, &image).map_err(failed)?;
    // One command needs one container.
    engine.make_none_ahead();
    let done = remote::carry_out(
        ordered,
        args,
        context,
        (place.as_ref(), &store),
        network::TRUSTED,
        |spec, files| engine.launch(spec, files),
    )?;
    if done.left {
        // Its end would wait for what does not answer.
        std::mem::forget(engine);
    }
    Ok(done.exit)
}

/// Where the daemon is.
pub(crate) fn docker_host(context: &Context<'_>) -> String {
    let named = context.environment.get("DOCKER_HOST").map(ToOwned::to_owned);
    named.filter(|host| !host.is_empty()).unwrap_or_else(|| docker::DEFAULT_HOST.to_owned())
}
