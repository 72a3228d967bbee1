//! `wflo gateway`: the gateway alone, for clients outside of runs.

mod signals;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Serialize;
use tokio::sync::mpsc;
use wflo_core::budget::Figures;
use wflo_core::error::{Code, Failure};
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{Batch, Op, SliceOp, SliceStore, Store as _};
use wflo_gateway::Deadlines;
use wflo_gateway::dialect::Dialect;
use wflo_gateway::error::GatewayError;
use wflo_gateway::repeats::OnRepeat;
use wflo_gateway::route::{Routes, Standard};
use wflo_proxy::{Config, Notice, ProxyError, Rules, Server, ServerOptions, TlsFiles, TreasuryOptions};

use self::signals::{Heard, Signals};
use self::watched::{Certificate, Watched};
use crate::cli::GatewayArgs;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::logging::calls;
use crate::plain;
use crate::session::{Session, coded};
use crate::settings::{Difference, Outline, Settings};

/// How often `wflo.toml` and the certificate are looked at.
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
    Listening {
        address: String,
        tls: bool,
        keys_wanted: bool,
        data_dir: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        settings: Option<String>,
    },
    #[serde(rename = "gateway.key_missing")]
    KeyMissing { provider: &'a str, variable: &'a str },
    #[serde(rename = "gateway.no_provider")]
    NoProvider,
    #[serde(rename = "gateway.reloaded")]
    Reloaded(&'a Difference),
    #[serde(rename = "gateway.reload_failed")]
    ReloadFailed { errors: &'a [Failure] },
    #[serde(rename = "gateway.certificate_renewed")]
    CertificateRenewed,
    #[serde(rename = "gateway.certificate_failed")]
    CertificateFailed { errors: &'a [Failure] },
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
    let mut certificate = Certificate::new(args);
    let mut present = settings.outline.clone();
    let session = Session::open(context, settings)?;
    let config = config(&session)?;
    name_idle(&config.rules, &session, context).await;
    let routes = config.routes.clone();
    let listener = std::net::TcpListener::bind(args.listen)
        .map_err(|source| coded(&ProxyError::Listen { address: args.listen.to_string(), source }))?;
    let (heard, mut notices) = mpsc::channel(256);
    let options = ServerOptions {
        listener,
        tls: args.tls_cert.clone().zip(args.tls_key.clone()).map(|(cert, key)| TlsFiles { cert, key }),
        plain: args.plain_http,
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
    calls::want(args.log || session.settings.gateway.log);
    listening(&server, args, context, &session.settings);
    missing(&routes, context);
    let mut forget = tokio::time::interval(FORGET);
    let mut look = tokio::time::interval(LOOK);
    loop {
        let reload = tokio::select! {
            heard = signals.next() => match heard {
                Heard::End => break,
                Heard::Reload => {
                    tell_of_certificate(server.renew_certificate(), context);
                    true
                }
            },
            _ = look.tick() => {
                if let Some(read) = certificate.look(&server) {
                    tell_of_certificate(read, context);
                }
                file.has_changed()
            }
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
            match taken_over(&server, args, context, &session).await {
                Ok(outline) => {
                    tell_of_settings(&outline.since(&present), context);
                    present = outline;
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

fn listening(server: &Server, args: &GatewayArgs, context: &Context<'_>, settings: &Settings) {
    let (printer, address) = (context.printer, server.address());
    let (tls, keys_wanted) = (args.tls_cert.is_some(), !server.is_open());
    let scheme = if tls { "https" } else { "http" };
    let file = settings.project.file.as_deref();
    printer.object(&Line::Listening {
        address: address.to_string(),
        tls,
        keys_wanted,
        data_dir: &settings.data_dir.display().to_string(),
        settings: file.map(|file| file.display().to_string()),
    });
    printer.line(format_args!("Listening on {scheme}://{address}"));
    // Every address of this machine is none that a client can use.
    let base = match address.ip().is_unspecified() {
        true => format!("{scheme}://HOST:{}", address.port()),
        false => format!("{scheme}://{address}"),
    };
    for dialect in Dialect::ALL {
        let version = if dialect == Dialect::OpenAi { "/v1" } else { "" };
        printer.note(format_args!("  {}={base}{version}", Standard::of(dialect).address));
    }
    let file = file.map_or_else(|| "none (no wflo.toml)".to_owned(), |file| file.display().to_string());
    printer.note(format_args!("Data {}, settings {}", settings.data_dir.display(), plain::line(&file)));
    printer.note(match keys_wanted {
        true => "Clients need a key of `wflo keys`.",
        false => "Any API key is accepted here until `wflo keys create` makes one.",
    });
}

/// Says which providers cannot be asked: their clients would be told, who can do nothing about it.
fn missing(routes: &Routes, context: &Context<'_>) {
    let printer = context.printer;
    for provider in routes.named_providers() {
        if let Err(GatewayError::NoKey { provider, variable, .. }) = provider.usable() {
            printer.object(&Line::KeyMissing { provider: &provider, variable: &variable });
            printer.warning(format_args!(
                "there is no key for the provider `{}`: {} is not set, and its calls are refused",
                plain::line(&provider),
                plain::line(&variable)
            ));
        }
    }
    if routes.named_providers().is_empty()
        && routes.providers().iter().all(|provider| provider.usable().is_err())
    {
        printer.object(&Line::NoProvider);
        printer.warning(
            "no provider can be asked, and every call is refused: export OPENAI_API_KEY or another provider's key, or add [providers.NAME] to wflo.toml",
        );
    }
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

fn tell_of_settings(difference: &Difference, context: &Context<'_>) {
    let printer = context.printer;
    printer.object(&Line::Reloaded(difference));
    match difference.is_empty() {
        true => printer.note("Settings taken over: nothing has changed in wflo.toml."),
        false => printer.note(format_args!("Settings taken over: {}.", plain::line(&difference.to_string()))),
    }
}

fn tell_of_certificate(read: Result<bool, ProxyError>, context: &Context<'_>) {
    let printer = context.printer;
    match read {
        Ok(false) => {}
        Ok(true) => {
            printer.object(&Line::CertificateRenewed);
            printer.note("Another certificate taken over: new connections get it.");
        }
        Err(error) => {
            let failures = coded(&error).failures;
            printer.object(&Line::CertificateFailed { errors: &failures });
            printer.warning("the certificate was changed and cannot be used; the one from before stays:");
            failures.iter().for_each(|failure| printer.caution(failure));
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

/// Takes over what `wflo.toml` says now, and gives its parts.
async fn taken_over(
    server: &Server,
    args: &GatewayArgs,
    context: &Context<'_>,
    session: &Session<'_>,
) -> Result<Outline, CommandError> {
    let settings = context.settings(None)?;
    let outline = settings.outline.clone();
    if settings.storage != session.settings.storage {
        let failure = Failure::new(Code(4073), "storage cannot be changed while the gateway runs");
        return Err(CommandError::from_failure(failure.with_hint("start the gateway anew")));
    }
    let log = args.log || settings.gateway.log;
    let config = config(&session.with_settings(settings))?;
    name_idle(&config.rules, session, context).await;
    let routes = config.routes.clone();
    server.reload(config).await.map_err(|error| coded(&error))?;
    calls::want(log);
    missing(&routes, context);
    Ok(outline)
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
