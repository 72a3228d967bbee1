//! The way from a build to its index, and to nothing else.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};

use wflo_core::error::{Coded as _, Failure};
use wflo_core::ports::BoxFuture;
use wflo_egress::host::Target;
use wflo_egress::inspect::Inspection;
use wflo_egress::resolve::SystemResolver;
use wflo_egress::rules::{Change, Rule};
use wflo_egress::secrets::Secrets;
use wflo_egress::witness::{End, Ended, Opening, Unrecorded, Witness};
use wflo_egress::{Egress, EgressHandle, Limits, Refusal, RuleError, Rules, Totals};

use super::super::error::ImageError;
use super::super::{Builder, Wanted};
use crate::error::EngineError;
use crate::launch::Placeholder;

/// So many different refusals are said.
const SAID: usize = 5;

/// What looks at requests, where a secret is put into them or another authority vouches for the index.
#[derive(Default)]
pub(super) struct Sight {
    held: Vec<Placeholder>,
    seen: Option<Seen>,
}

struct Seen {
    inspection: Arc<Inspection>,
    hosts: Vec<Rule>,
}

impl Sight {
    /// Makes ready what is needed: mostly nothing.
    pub(super) async fn prepare(builder: &Builder, wanted: &Wanted) -> Result<Sight, ImageError> {
        let failed = |error: EngineError| ImageError::Failure(error.failure());
        let mut held = Vec::new();
        for variable in wanted.index.variables() {
            let Some((_, name)) = builder.secrets.iter().find(|(known, _)| known == variable) else {
                let message = format!("`${{{variable}}}` of an index is the variable of no secret");
                let hint = format!(
                    "name the secret in wflo.toml: [secrets.NAME] with env = \"{variable}\", its value and its hosts"
                );
                return Err(Failure::new(crate::hosts::NOT_HAD, message).with_hint(hint).into());
            };
            let placeholder = crate::sandboxed::token().map_err(failed)?;
            held.push(Placeholder { name: name.clone(), env: variable.to_owned(), placeholder });
        }
        if held.is_empty() && !builder.hosts.has_authority() {
            return Ok(Sight { held, seen: None });
        }
        let secrets = builder.hosts.secrets(&held).await.map_err(failed)?;
        let mut hosts: Vec<Rule> = secrets.iter().flat_map(|secret| secret.hosts.iter().cloned()).collect();
        let rules = wanted.index.rules();
        let is_tls = |rule: &&String| rule.starts_with("https://");
        let own = rules.iter().filter(is_tls).map(|rule| rule.parse::<Rule>());
        hosts.extend(own.collect::<Result<Vec<_>, _>>().map_err(refused)?);
        let roots = builder.hosts.roots().await.map_err(failed)?;
        let inspection =
            Inspection::new(roots, Secrets::new(secrets)).map_err(|e| ImageError::Failure(e.to_failure()))?;
        Ok(Sight { held, seen: Some(Seen { inspection: Arc::new(inspection), hosts }) })
    }

    /// What the build holds in the place of a secret.
    pub(super) fn placeholder(&self, variable: &str) -> Option<String> {
        self.held.iter().find(|held| held.env == variable).map(|held| held.placeholder.clone())
    }

    /// The certificates that the build trusts, where not this machine's.
    pub(super) fn bundle(&self) -> Option<String> {
        self.seen.as_ref().map(|seen| seen.inspection.bundle())
    }

    /// What may be reached. Where a secret is held, things are fetched and nothing is sent: an index whose
    /// packages one may read is often one to which the same secret may write.
    pub(super) fn rules(&self, wanted: &Wanted) -> Vec<String> {
        let rules = wanted.index.rules();
        if self.held.is_empty() {
            return rules;
        }
        let reading = |rule: String| match rule.contains("://") {
            true => vec![format!("GET,HEAD {rule}")],
            false => vec![format!("GET,HEAD https://{rule}"), format!("GET,HEAD http://{rule}")],
        };
        rules.into_iter().flat_map(reading).collect()
    }
}

fn refused(error: RuleError) -> ImageError {
    ImageError::Failure(error.to_failure())
}

/// What lets a build's connections out, while it runs.
pub(super) struct Network {
    handle: EgressHandle,
    book: Arc<Book>,
}

impl Network {
    /// Serves the listener of a build's sandbox.
    pub(super) fn open(
        listener: Option<TcpListener>,
        builder: &Builder,
        rules: &[String],
        sight: &Sight,
    ) -> Result<Network, ImageError> {
        let none = || ImageError::Broken("a build's sandbox has no way out".to_owned());
        let listener = listener.ok_or_else(none)?;
        let rules = Rules::parse(rules, &builder.allow_addresses).map_err(refused)?;
        let never = builder
            .deny_hosts
            .iter()
            .map(|rule| Ok(Change { rule: rule.parse()?, allowed: false, is_answer: true }));
        let mut rules = rules.with(never.collect::<Result<Vec<_>, _>>().map_err(refused)?);
        if let Some(seen) = &sight.seen {
            rules = rules.seeing(seen.hosts.clone());
        }
        let book = Arc::new(Book::default());
        let egress = Egress {
            // Nobody changes them while it runs, and nobody is asked.
            rules: tokio::sync::watch::channel(Arc::new(rules)).1,
            asker: None,
            inspection: sight.seen.as_ref().map(|seen| Arc::clone(&seen.inspection)),
            limits: Limits::default(),
            totals: Arc::new(Totals::new(&Limits::default())),
            resolver: Arc::new(SystemResolver::default()),
            witness: Arc::clone(&book) as Arc<dyn Witness>,
        };
        let handle = egress.serve(listener).map_err(|e| ImageError::Broken(e.to_string()))?;
        Ok(Network { handle, book })
    }

    /// Ends every connection; what was refused.
    pub(super) async fn close(self) -> Vec<Failure> {
        self.handle.stop().await;
        self.book.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A build's connections are not kept: what was refused is said where it fails.
#[derive(Default)]
struct Book(Mutex<Vec<Failure>>);

impl Book {
    fn note(&self, refusal: &Refusal) {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = refusal.to_failure();
        if refused.len() < SAID && !refused.contains(&failure) {
            refused.push(failure);
        }
    }
}

impl Witness for Book {
    fn opens<'a>(&'a self, _: &'a Opening) -> BoxFuture<'a, Result<(), Unrecorded>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn ended(&self, ended: Ended) {
        if let End::Refused(refusal) = &ended.end {
            self.note(refusal);
        }
    }

    fn refused(&self, _: Option<&Target>, refusal: &Refusal) {
        self.note(refusal);
    }
}
