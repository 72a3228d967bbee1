//! `wflo sandbox serve`: sandboxes of this machine, for clients of E2B.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use wflo_core::error::{Code, Failure};
use wflo_e2b::{Each, Keys, ServeError, Server, ServerOptions};
use wflo_engine::clock::SystemClock;
use wflo_engine::interpreter::{Interpreter, Surroundings};
use wflo_proxy::TlsFiles;
use wflo_sandbox::Bind;
use wflo_sandbox::workspace::Mask;

use super::exec::shown::Shown;
use crate::cli::ServeArgs;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::settings::Settings;

/// A key that is shorter than this protects nothing.
const SHORTEST_KEY: usize = 20;

/// One line with `--json`.
#[derive(Serialize)]
#[serde(tag = "type")]
enum Line<'a> {
    #[serde(rename = "sandboxes.listening")]
    Listening {
        address: String,
        tls: bool,
        /// Only where it was made for this time.
        #[serde(skip_serializing_if = "Option::is_none")]
        api_key: Option<&'a str>,
        audit: String,
    },
    #[serde(rename = "sandboxes.ended")]
    Ended,
}

/// Serves until it is told to end.
pub(crate) fn run(args: &ServeArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let settings = context.settings(None)?;
    let made = match &args.api_key_env {
        Some(_) => None,
        None => Some(wflo_e2b::new_key().map_err(ServeError::System)?),
    };
    let given = args.api_key_env.as_deref().map(|name| given_key(name, context)).transpose()?;
    let keys = Keys::new(made.as_deref().or(given));
    let tls = args.tls_cert.clone().zip(args.tls_key.clone());
    let tls = tls.map(|(cert, key)| TlsFiles { cert, key }.accept()).transpose()?;
    let (each, _masks) = each(args, &settings, context)?;
    let state = settings.data_dir.join("serve");
    let most = usize::try_from(args.max_sandboxes).unwrap_or(usize::MAX);
    let options = ServerOptions {
        listen: args.listen,
        tls,
        keys,
        each,
        most,
        memory: args.max_memory,
        program: super::doctor::this_program()?,
        state: state.clone(),
        clock: Arc::new(SystemClock::default()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(wflo_e2b::threads(most))
        .enable_all()
        .build();
    let runtime = runtime.map_err(ServeError::System)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::System)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::System)?;
        let server = Server::start(options).await.map_err(not_served)?;
        listening(&server, args, made.as_deref(), &state.join("audit.jsonl"), context);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        context.printer.note("Ending: every sandbox with it.");
        tokio::select! {
            () = server.end() => {}
            // Whoever asks twice is not kept waiting; the launcher ends what is left.
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        context.printer.object(&Line::Ended);
        Ok(Exit::Success)
    })
}

fn not_served(error: ServeError) -> CommandError {
    let no_sandbox = matches!(error, ServeError::Sandbox(_));
    let error = CommandError::from(error);
    if no_sandbox { error.exiting(Exit::NoSandbox) } else { error }
}

/// The key that a variable holds.
fn given_key<'a>(variable: &str, context: &'a Context<'_>) -> Result<&'a str, ServeError> {
    let unusable = |why| ServeError::Key { variable: variable.to_owned(), why };
    let key = context.environment.get(variable).ok_or_else(|| unusable("it is not set"))?;
    match key.len() < SHORTEST_KEY {
        true => Err(unusable("it has fewer than 20 characters")),
        false => Ok(key),
    }
}

/// What each sandbox gets, and what hides in what it is shown for as long as the server runs.
fn each(
    args: &ServeArgs,
    settings: &Settings,
    context: &Context<'_>,
) -> Result<(Each, Vec<Mask>), CommandError> {
    let mut ro: Vec<Bind> = Vec::new();
    for mount in &args.ro {
        let source = context.current.join(&mount.source);
        let source = std::fs::canonicalize(&source).unwrap_or(source);
        ro.push(Bind::new(source, &mount.target));
    }
    let Shown { binds: mut ro, masks } = Shown::new(ro, &context.current, &settings.hide_rules())?;
    let mut path = Vec::new();
    if let Some(python) = &args.python {
        let interpreter = python_of(&context.current.join(python), settings, context)?;
        ro.extend(interpreter.folders.iter().map(Bind::same));
        path.extend(interpreter.program.parent().map(Path::to_path_buf));
    }
    let each = Each {
        memory: args.memory,
        cpus: args.cpus,
        pids: args.pids,
        disk: args.disk,
        preset: args.preset,
        ro,
        path,
        hosts: args.allow_hosts.iter().map(ToString::to_string).collect(),
        longest: Duration::from_secs(args.max_timeout),
    };
    Ok((each, masks))
}

/// What a Python needs of this machine, read and not run.
fn python_of(
    program: &Path,
    settings: &Settings,
    context: &Context<'_>,
) -> Result<Interpreter, CommandError> {
    let variable = |name: &str| context.environment.get(name).map(OsString::from);
    let mut around = Surroundings::new(&settings.project.root, Some(&settings.data_dir), variable);
    // Nothing of the project is shown, so its environment is shown like any other.
    around.alone = true;
    Interpreter::read(program, &around).map_err(|reason| {
        let failure = Failure::new(Code(3040), format!("{} cannot run code: {reason}", program.display()));
        CommandError::from_failure(failure.with_hint("name a Python, such as .venv/bin/python"))
    })
}

fn listening(server: &Server, args: &ServeArgs, made: Option<&str>, audit: &Path, context: &Context<'_>) {
    let (printer, address) = (context.printer, server.address());
    let tls = args.tls_cert.is_some();
    let scheme = if tls { "https" } else { "http" };
    let shown = audit.display().to_string();
    printer.object(&Line::Listening {
        address: address.to_string(),
        tls,
        api_key: made,
        audit: shown.clone(),
    });
    printer.line(format_args!("Listening on {scheme}://{address}"));
    // Every address of this machine is none that a client can use.
    let base = match address.ip().is_unspecified() {
        true => format!("{scheme}://HOST:{}", address.port()),
        false => format!("{scheme}://{address}"),
    };
    printer.note(format_args!("  E2B_API_URL={base}"));
    printer.note(format_args!("  E2B_SANDBOX_URL={base}"));
    match (made, &args.api_key_env) {
        (Some(key), _) => printer.note(format_args!("  E2B_API_KEY={key}")),
        (None, name) => {
            let name = plain::line(name.as_deref().unwrap_or_default());
            printer.note(format_args!("Clients need the key that {name} holds."));
        }
    }
    printer.note(format_args!("What is done in the sandboxes is recorded in {}", plain::line(&shown)));
}
