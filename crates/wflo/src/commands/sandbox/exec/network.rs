//! The hosts that a command may reach, and what is said of those that it may not.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};

use wflo_core::error::{Code, Coded as _, Failure};
use wflo_core::ports::BoxFuture;
use wflo_egress::host::Target;
use wflo_egress::inspect::roots::Roots;
use wflo_egress::inspect::{Inspection, Shown, trust_env};
use wflo_egress::resolve::SystemResolver;
use wflo_egress::rules::Rule;
use wflo_egress::secrets::Secrets;
use wflo_egress::witness::{End, Ended, Opening, Unrecorded, Witness};
use wflo_egress::{Egress, EgressHandle, Limits, Refusal, Rules, Totals, client_env};
use wflo_sandbox::{Bind, EGRESS_PORT, Spec};

use crate::commands::Context;
use crate::failure::CommandError;

/// So many different refusals are said.
const SAID: usize = 20;

/// What lets the command's connections out, while it runs.
pub(super) struct Network {
    runtime: tokio::runtime::Runtime,
    handle: EgressHandle,
    book: Arc<Book>,
}

/// Where the certificates are that the command trusts, where its requests are looked at; a sandbox of a cloud has
/// them at a place of its own.
pub(super) const TRUSTED: &str = "/opt/wflo/trusted.pem";

/// What looks at requests, and the file that the command trusts: needed until its sandbox is there.
pub(super) type Sight = (Arc<Inspection>, Shown);

/// Asks for the listener, where a host is allowed; where a rule names a part of one, for what sees that, and for
/// the file `trusted` inside.
///
/// # Errors
/// When nothing can be seen here.
pub(super) fn ask(spec: &mut Spec, hosts: &[Rule], trusted: &str) -> Result<Option<Sight>, CommandError> {
    if hosts.is_empty() {
        return Ok(None);
    }
    spec.egress_listener = true;
    let given: Vec<OsString> = spec.env.iter().map(|(name, _)| name.clone()).collect();
    let own = client_env(EGRESS_PORT).into_iter().map(|(name, value)| (name.into(), value.into()));
    spec.env.extend(own.filter(|(name, _)| !given.contains(name)));
    if !rules(hosts)?.need_sight() {
        return Ok(None);
    }
    let inspection = Inspection::new(Arc::new(Roots::load(None)?), Secrets::default())?;
    let file = inspection.shown().map_err(unusable)?;
    spec.ro.push(Bind::new(file.path(), trusted));
    let trusted = trust_env(trusted).into_iter().map(|(name, value)| (name.into(), value.into()));
    spec.env.extend(trusted.filter(|(name, _): &(OsString, OsString)| !given.contains(name)));
    Ok(Some((Arc::new(inspection), file)))
}

fn rules(hosts: &[Rule]) -> Result<Rules, CommandError> {
    let texts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    Ok(Rules::parse(&texts, &[])?)
}

fn unusable(error: std::io::Error) -> CommandError {
    CommandError::from_failure(Failure::new(Code(9005), format!("connections cannot be served: {error}")))
}

impl Network {
    /// Serves the listener of a sandbox, if it has one.
    ///
    /// # Errors
    /// When it cannot be served.
    pub(super) fn open(
        listener: Option<TcpListener>,
        hosts: &[Rule],
        sight: Option<Sight>,
    ) -> Result<Option<Network>, CommandError> {
        let Some(listener) = listener else { return Ok(None) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(unusable)?;
        let rules = if sight.is_some() { rules(hosts)?.seeing(Vec::new()) } else { rules(hosts)? };
        let book = Arc::new(Book::default());
        let egress = Egress {
            // Nobody changes them while the command runs, and nobody is asked.
            rules: tokio::sync::watch::channel(Arc::new(rules)).1,
            asker: None,
            inspection: sight.map(|(inspection, _)| inspection),
            limits: Limits::default(),
            totals: Arc::new(Totals::new(&Limits::default())),
            resolver: Arc::new(SystemResolver::default()),
            witness: Arc::clone(&book) as Arc<dyn Witness>,
        };
        let handle = {
            let _within = runtime.enter();
            egress.serve(listener).map_err(unusable)?
        };
        Ok(Some(Network { runtime, handle, book }))
    }

    /// Ends every connection and says what was refused.
    pub(super) fn close(self, context: &Context<'_>) {
        self.runtime.block_on(self.handle.stop());
        let refused = self.book.refused.lock().unwrap_or_else(PoisonError::into_inner);
        for (refusal, times) in refused.iter() {
            let times = if *times > 1 { format!(" ({times} times)") } else { String::new() };
            context.printer.note(format_args!("note: {refusal}{times}"));
        }
        // A name server that does not answer holds a thread.
        self.runtime.shutdown_background();
    }
}

/// A command's connections are not kept: what was refused is said at its end.
#[derive(Default)]
struct Book {
    refused: Mutex<BTreeMap<String, u64>>,
}

impl Book {
    fn count(&self, refusal: &Refusal) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let text = format!("{refusal} [{}]", refusal.code());
        if refused.len() < SAID || refused.contains_key(&text) {
            *refused.entry(text).or_default() += 1;
        }
    }
}

impl Witness for Book {
    fn opens<'a>(&'a self, _: &'a Opening) -> BoxFuture<'a, Result<(), Unrecorded>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn ended(&self, ended: Ended) {
        if let End::Refused(refusal) = &ended.end {
            self.count(refusal);
        }
    }

    fn refused(&self, _: Option<&Target>, refusal: &Refusal) {
        self.count(refusal);
    }
}
