//! `wflo gateway`: the gateway alone, for clients outside of runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::SignedDuration;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use wflo_core::budget::Figures;
use wflo_core::error::{Code, Failure};
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{Batch, Op, SliceOp, SliceStore, Store as _};
use wflo_gateway::Deadlines;
use wflo_gateway::repeats::OnRepeat;
use wflo_proxy::{Config, Notice, ProxyError, Rules, Server, ServerOptions, TlsFiles, TreasuryOptions};

use crate::cli::GatewayArgs;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::session::{Session, coded};
use crate::settings::Settings;

/// How often `wflo.toml` is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How often calls are removed that are kept no longer.
const FORGET: Duration = Duration::from_secs(60);

/// How long what was spent may be in the log alone.
const FOLD: Duration = Duration::from_millis(250);

/// One line with `--json`.
#[derive(Serialize)]
#[serde(tag = "type")]
enum Line<'a> {
    #[serde(rename = "gateway.listening")]
    Listening { address: String, tls: bool, keys_wanted: bool },
    #[serde(rename = "gateway.reloaded")]
    Reloaded,
    #[serde(rename = "gateway.reload_failed")]
    ReloadFailed { errors: &'a [Failure] },
    #[serde(rename = "gateway.alert")]
    Alert {
        budget: &'a str,
        threshold: u32,
        #[serde(flatten)]
        figures: Figures,
    },
    #[serde(rename = "gateway.keys_wanted")]
    KeysWanted,
    #[serde(rename = "gateway.draining")]
    Draining,
    #[serde(rename = "gateway.ended")]
    Ended,
}

/// Serves until it is told to end.
pub(crate) fn run(args: &GatewayArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    raise_descriptors();
    let threads = args.threads.map(usize::from);
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = match threads.unwrap_or_else(cores) {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        many => {
            let mut workers = tokio::runtime::Builder::new_multi_thread();
            workers.worker_threads(many).on_thread_start(be_prompt).enable_all().build()
        }
    };
    be_prompt();
    let runtime = runtime.map_err(|error| {
        CommandError::from_failure(Failure::new(Code(9005), format!("no threads can be made: {error}")))
    })?;
    runtime.block_on(serve(args, context))
}

/// Calls do not wait for whatever else uses the processors, an agent's build perhaps.
fn be_prompt() {
    if let Err(error) = wflo_sandbox::ask_for_short_turns() {
        tracing::debug!(%error, "the kernel gives this thread no short turns");
    }
}

async fn serve(args: &GatewayArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    let mut signals = Signals::new().map_err(|error| {
        CommandError::from_failure(Failure::new(Code(9005), format!("signals cannot be heard: {error}")))
    })?;
    let settings = context.settings(None)?;
    let mut file = Watched::new(settings.project.file.clone());
    let session = Session::open(context, settings)?;
    let config = config(&session)?;
    name_idle(&config.rules, &session, context).await;
    let listener = std::net::TcpListener::bind(args.listen)
        .map_err(|source| coded(&ProxyError::Listen { address: args.listen.to_string(), source }))?;
    let (heard, mut notices) = mpsc::channel(256);
    let options = ServerOptions {
        listener,
        tls: args.tls_cert.clone().zip(args.tls_key.clone()).map(|(cert, key)| TlsFiles { cert, key }),
        treasury: TreasuryOptions {
            store: Arc::clone(&session.store) as Arc<dyn SliceStore>,
            data_dir: session.store.data_dir().to_path_buf(),
            clock: Arc::clone(&session.clock) as Arc<dyn Clock>,
            pid: std::process::id(),
            fold_every: FOLD,
        },
        config,
        room: Duration::from_secs(args.room),
        deadlines: Deadlines::default(),
        // A notice that nobody has time for is lost; what it says stands in the store.
        notice: Arc::new(move |notice| drop(heard.try_send(notice))),
    };
    let server = Server::start(options).await.map_err(|error| coded(&error))?;
    listening(&server, args, context);
    let mut forget = tokio::time::interval(FORGET);
    loop {
        let reload = tokio::select! {
            heard = signals.next() => match heard {
                Heard::End => break,
                Heard::Reload => true,
            },
            () = tokio::time::sleep(LOOK) => file.has_changed(),
            _ = forget.tick() => {
                forget_calls(&session).await;
                false
            }
            notice = notices.recv() => {
                notice.iter().for_each(|notice| tell(notice, context));
                false
            }
        };
        if reload {
            let taken = match read_again(context, &session) {
                Ok(config) => {
                    name_idle(&config.rules, &session, context).await;
                    server.reload(config).await.map_err(|error| coded(&error))
                }
                Err(error) => Err(error),
            };
            match taken {
                Ok(()) => {
                    printer.object(&Line::Reloaded);
                    printer.note("Settings taken over.");
                }
                Err(error) => {
                    printer.object(&Line::ReloadFailed { errors: &error.failures });
                    printer.warning("the settings were changed and cannot be used; those from before stay:");
                    error.failures.iter().for_each(|failure| printer.caution(failure));
                }
            }
        }
    }
    printer.object(&Line::Draining);
    printer.note("Ending: no new calls; those under way may end. Again to cut them off.");
    tokio::select! {
        () = server.drain(Duration::from_secs(args.drain)) => {}
        () = signals.end() => return Ok(Exit::Cancelled),
    }
    printer.object(&Line::Ended);
    Ok(Exit::Success)
}

fn listening(server: &Server, args: &GatewayArgs, context: &Context<'_>) {
    let (printer, address) = (context.printer, server.address());
    let (tls, keys_wanted) = (args.tls_cert.is_some(), !server.is_open());
    let scheme = if tls { "https" } else { "http" };
    printer.object(&Line::Listening { address: address.to_string(), tls, keys_wanted });
    printer.line(format_args!("Listening on {scheme}://{address}"));
    printer.note(format_args!(
        "OPENAI_BASE_URL={scheme}://{address}/v1  ANTHROPIC_BASE_URL={scheme}://{address}  GOOGLE_GEMINI_BASE_URL={scheme}://{address}  CO_API_URL={scheme}://{address}"
    ));
    printer.note(match keys_wanted {
        true => "Clients need a key of `wflo keys`.",
        false => "Any API key is accepted here until `wflo keys create` makes one.",
    });
}

fn tell(notice: &Notice, context: &Context<'_>) {
    let printer = context.printer;
    match notice {
        Notice::Alert(alert) => {
            printer.object(&Line::Alert {
                budget: &alert.budget,
                threshold: alert.threshold,
                figures: alert.figures,
            });
            let (used, limit) = alert.figures.show();
            printer.warning(format_args!(
                "{} % of the {} is used: {used} of {limit}",
                alert.threshold / 10,
                plain::line(&alert.budget),
            ));
        }
        Notice::KeysWanted => {
            printer.object(&Line::KeysWanted);
            printer.note("A key was made: from now on clients need one.");
        }
    }
}

/// Removes what is kept no longer of each call; what all came to stays.
async fn forget_calls(session: &Session<'_>) {
    let days = i64::try_from(session.settings.gateway.keep_calls_days).unwrap_or(i64::MAX);
    let kept = SignedDuration::from_hours(days.saturating_mul(24).min(24 * 365 * 1_000));
    let Ok(before) = session.clock.now().checked_sub(kept) else { return };
    let ops = vec![Op::Slice(SliceOp::Forget { before })];
    if let Err(error) = session.store.commit(Batch { fence: None, ops }).await {
        tracing::warn!(%error, "old calls could not be removed");
    }
}

/// What `wflo.toml` says now.
fn read_again(context: &Context<'_>, session: &Session<'_>) -> Result<Config, CommandError> {
    let settings = context.settings(None)?;
    if settings.storage != session.settings.storage {
        let failure = Failure::new(Code(4073), "storage cannot be changed while the gateway runs");
        return Err(CommandError::from_failure(failure.with_hint("start the gateway anew")));
    }
    config(&session.with_settings(settings))
}

fn rules(settings: &Settings) -> Rules {
    Rules { budgets: settings.gateway_budgets.clone(), org: settings.project.org.clone() }
}

/// Names the limits that no call here is held on.
async fn name_idle(rules: &Rules, session: &Session<'_>, context: &Context<'_>) {
    // A store that fails is told elsewhere.
    let standing = session.store.standing_budgets().await.unwrap_or_default();
    rules.idle(&standing).iter().for_each(|idle| context.printer.caution(idle));
}

fn config(session: &Session<'_>) -> Result<Config, CommandError> {
    if session.settings.routing.repeats.is_some_and(|repeats| repeats.action == OnRepeat::Ask) {
        let failure = Failure::new(
            Code(4115),
            "`[repeats] action = \"ask\"` asks people before a run goes on, and the gateway alone has no runs",
        );
        let hint =
            "use \"warn\" or \"halt\" for the gateway, in a wflo.toml of its own (`--project`) if runs ask";
        return Err(CommandError::from_failure(failure.with_hint(hint)));
    }
    Ok(Config {
        routes: session.routes()?,
        rules: rules(&session.settings),
        browsers: session.settings.gateway.browsers.clone(),
        cache: session.settings.cache.clone(),
    })
}

/// Each client is a descriptor, and each of its calls another.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it cannot be raised, fewer clients are served at a time, and the others wait.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// What ends the gateway, and what makes it read its settings.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.terminate.recv() => Heard::End,
            _ = self.interrupt.recv() => Heard::End,
            _ = self.hangup.recv() => Heard::Reload,
        }
    }

    async fn end(&mut self) {
        while self.next().await != Heard::End {}
    }
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    End,
    Reload,
}

/// A file, and what it was when it was looked at last.
struct Watched {
    file: Option<PathBuf>,
    seen: Option<(SystemTime, u64)>,
}

impl Watched {
    fn new(file: Option<PathBuf>) -> Watched {
        let seen = file.as_deref().and_then(look);
        Watched { file, seen }
    }

    fn has_changed(&mut self) -> bool {
        let now = self.file.as_deref().and_then(look);
        // An editor that writes it anew may have it away for a moment.
        let changed = now.is_some() && now != self.seen;
        if changed {
            self.seen = now;
        }
        changed
    }
}

fn look(file: &Path) -> Option<(SystemTime, u64)> {
    let data = std::fs::metadata(file).ok()?;
    Some((data.modified().ok()?, data.len()))
}
