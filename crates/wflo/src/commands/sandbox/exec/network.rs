//! The hosts that a command may reach, and what is said of those that it may not.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};

use wflo_core::error::{Code, Coded as _, Failure};
use wflo_core::ports::BoxFuture;
use wflo_egress::host::Target;
use wflo_egress::resolve::SystemResolver;
use wflo_egress::rules::Rule;
use wflo_egress::witness::{End, Ended, Opening, Unrecorded, Witness};
use wflo_egress::{Egress, EgressHandle, Limits, Refusal, Rules, client_env};
use wflo_sandbox::{EGRESS_PORT, ProcessTree, Spec};

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

/// Asks for the listener, where a host is allowed.
pub(super) fn ask(spec: &mut Spec, hosts: &[Rule]) {
    if hosts.is_empty() {
        return;
    }
    spec.egress_listener = true;
    let given: Vec<OsString> = spec.env.iter().map(|(name, _)| name.clone()).collect();
    let own = client_env(EGRESS_PORT).into_iter().map(|(name, value)| (name.into(), value.into()));
    spec.env.extend(own.filter(|(name, _)| !given.contains(name)));
}

impl Network {
    /// Serves the sandbox's listener, if it has one.
    ///
    /// # Errors
    /// When it cannot be served.
    pub(super) fn open(sandbox: &ProcessTree, hosts: &[Rule]) -> Result<Option<Network>, CommandError> {
        let Some(listener) = sandbox.take_egress_listener() else { return Ok(None) };
        let unusable = |error: std::io::Error| {
            CommandError::from_failure(Failure::new(
                Code(9005),
                format!("connections cannot be served: {error}"),
            ))
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(unusable)?;
        let texts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let book = Arc::new(Book::default());
        let egress = Egress {
            rules: Rules::parse(&texts, &[])?,
            limits: Limits::default(),
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
