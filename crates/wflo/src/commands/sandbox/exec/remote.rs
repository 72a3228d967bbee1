//! The command under a keeper, in a container or in a sandbox of a cloud: what is the same for both.

use std::sync::Arc;

use wflo_sandbox::workspace::{Store, View, seal, state_root};
use wflo_sandbox::{Files, Kept, Sandbox as _, Spec};

use crate::cli::ExecArgs;
use crate::commands::Context;
use crate::commands::drive::LEFT_BEHIND;
use crate::exit::Exit;
use crate::failure::CommandError;

use super::ends::{Ends, attend};
use super::network::{self, Network, Reach};
use super::workspace::Place;
use super::{keep, no_sandbox, no_workspace, report, report_limits};

/// Where the workspace is, if there is one, and where its files are kept.
pub(super) fn store(
    args: &ExecArgs,
    context: &Context<'_>,
) -> Result<(Option<Place>, Arc<Store>), CommandError> {
    let place = args.workspace.as_ref().map(|given| Place::find(given, context)).transpose()?;
    let store = match &place {
        Some(place) => place.store.clone(),
        None => {
            let root = state_root(&context.current, &context.current.join(".wflo")).join("exec");
            Store::open(root).map_err(no_workspace)?
        }
    };
    Ok((place, Arc::new(store)))
}

/// Launches the command, waits for its end, and keeps its changes where that is asked for. `trusted` is the
/// file of authorities inside.
pub(super) fn carry_out(
    (mut spec, ends): (Spec, Ends),
    args: &ExecArgs,
    context: &Context<'_>,
    (place, store): (Option<&Place>, &Arc<Store>),
    trusted: &str,
    launch: impl FnOnce(Spec, Option<&Files<'_>>) -> Result<Kept, wflo_sandbox::Error>,
) -> Result<Done, CommandError> {
    let reach = Reach::of(args, context)?;
    let sight = network::ask(&mut spec, &reach, trusted)?;
    let sandbox = match (place, &args.workspace) {
        (Some(place), Some(given)) => {
            let sealed = seal(&place.folder, &place.hidden, store).map_err(no_workspace)?;
            let view = View { sealed, layers: Vec::new(), undone: Vec::new(), earlier: None };
            let target = given.target.as_ref().unwrap_or(&place.folder);
            let name = format!("exec-{}", std::process::id());
            let files = Files { name: &name, view: &view, store, project: target, hidden: &place.hidden };
            launch(spec, Some(&files))
        }
        _ => launch(spec, None),
    };
    let sandbox = sandbox.map_err(no_sandbox)?;
    let (network, questions) =
        Network::open(sandbox.take_egress_listener(), &reach, sight, (&ends, context))?;
    report_limits(sandbox.enforcement(), context);
    let sandbox = Arc::new(sandbox);
    let waits = Arc::clone(&sandbox);
    let wait = move || {
        let exit = waits.wait();
        // What it printed last is still on its way.
        waits.drained();
        exit
    };
    let ends_it = Arc::clone(&sandbox);
    let mut ended = attend(ends, questions, context, wait, move || ends_it.kill().is_ok())?;
    if let Some(network) = network {
        network.close(context);
    }
    report(&ended, args, context)?;
    let mut left = ended.exit.is_none();
    let mut exit = Exit::Command(ended.code());
    if args.keep && !left {
        let changed = Arc::clone(&sandbox);
        if let Err(code) = keep(
            &mut ended,
            move || changed.changes(&wflo_sandbox::workspace::Bounds::default()),
            store,
            context,
        )? {
            // Whoever did not wait for that does not wait for the sandbox either.
            (exit, left) = (Exit::Command(code), true);
        }
    }
    if left && let Some(name) = sandbox.outlives() {
        context.printer.warning(format_args!("{name} is left behind: {LEFT_BEHIND}"));
    }
    Ok(Done { exit, left })
}

/// How it ended.
pub(super) struct Done {
    pub(super) exit: Exit,
    /// Its sandbox does not answer: whoever made it does not wait for its end.
    pub(super) left: bool,
}
