//! `/metrics` of a process that drives runs, where it is asked for.

use std::net::TcpListener;
use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::task::JoinSet;
use wflo_core::error::{Code, Failure};
use wflo_engine::Runtime;
use wflo_engine::metrics::Metrics;
use wflo_proxy::Scrape;
use wflo_store::Announced;

use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::Session;
use crate::settings::Ports;

/// Nobody listens there yet.
const TAKEN: Code = Code(5246);
/// Others could read it, and nobody has said that they may.
const FOR_ANYBODY: Code = Code(5247);

/// A place to serve at, and what is announced from now on.
pub(super) struct Prepared {
    listener: TcpListener,
    announced: Receiver<Announced>,
}

/// Counts and serves for as long as it lives.
pub(super) struct Serving {
    _scrape: Scrape,
    _counting: JoinSet<()>,
}

/// Takes a place, before anything is driven; `None` where metrics are not asked for.
///
/// # Errors
/// When the place is taken, or others could read what is served there.
pub(super) fn prepare(session: &Session<'_>) -> Result<Option<Prepared>, CommandError> {
    let metrics = session.settings.metrics;
    let Some(ports) = metrics.listen else { return Ok(None) };
    if !ports.ip.is_loopback() && !metrics.beyond_loopback {
        let message = format!(
            "{ports} can be reached from other machines: anybody there could read which workflows run and what they cost"
        );
        let hint = "Listen on 127.0.0.1; or say that they may: `beyond_loopback = true` under [metrics] in wflo.toml, WFLO_METRICS__BEYOND_LOOPBACK=true in the environment.";
        return Err(refused(Failure::new(FOR_ANYBODY, message).with_hint(hint)));
    }
    Ok(Some(Prepared { listener: listen(ports)?, announced: session.store.subscribe() }))
}

fn refused(failure: Failure) -> CommandError {
    CommandError { failures: vec![failure], exit: Exit::Usage }
}

fn listen(ports: Ports) -> Result<TcpListener, CommandError> {
    let mut why = None;
    for address in ports.addresses() {
        match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => drop(why.get_or_insert(error)),
        }
    }
    let why = why.map(|error| error.to_string()).unwrap_or_default();
    let message = format!("metrics cannot be served at {ports}: {why}");
    let hint = "Another process may serve there, such as a second run of this project: a range of ports, such as 127.0.0.1:9464-9479, has room for several; port 0 takes any free one.";
    Err(refused(Failure::new(TAKEN, message).with_hint(hint)))
}

impl Prepared {
    /// Serves what `runtime` does, and says where.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub(super) fn serve(self, context: &Context<'_>, runtime: &Runtime) -> Result<Serving, CommandError> {
        let metrics = Metrics::of(runtime);
        let mut counting = JoinSet::new();
        counting.spawn(Arc::clone(&metrics).follow(self.announced));
        let page = Arc::new(move || {
            let metrics = Arc::clone(&metrics);
            Box::pin(async move { metrics.page().await }) as _
        });
        let scrape = Scrape::serve(self.listener, page)
            .map_err(|error| refused(Failure::new(TAKEN, format!("metrics cannot be served: {error}"))))?;
        context.printer.note(format_args!("metrics at http://{}/metrics", scrape.address()));
        Ok(Serving { _scrape: scrape, _counting: counting })
    }
}
