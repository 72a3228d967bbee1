//! The hosts that a command may reach, what its user is asked about, and what is said of those that it may not.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use wflo_core::error::{Code, Coded as _, Failure};
use wflo_core::ports::BoxFuture;
use wflo_core::size::Millis;
use wflo_egress::host::Target;
use wflo_egress::inspect::roots::Roots;
use wflo_egress::inspect::{Inspection, Shown, trust_env};
use wflo_egress::resolve::SystemResolver;
use wflo_egress::rules::{Change, Rule};
use wflo_egress::secrets::Secrets;
use wflo_egress::witness::{End, Ended, Opening, Unrecorded, Witness};
use wflo_egress::{Egress, EgressHandle, Limits, Refusal, Rules, Totals, client_env};
use wflo_sandbox::{Bind, EGRESS_PORT, Spec};

use super::ends::Ends;
use super::questions::{Asking, Questions};
use crate::cli::ExecArgs;
use crate::commands::Context;
use crate::failure::CommandError;
use crate::settings::{Location, Settings};
use crate::trust;

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

/// What a command may reach, and what its user is asked about.
pub(super) struct Reach {
    allow: Vec<Rule>,
    /// What is asked about although a rule allows it: the command line's, and those of wflo.toml.
    asks: Vec<Rule>,
    /// Other hosts are asked about.
    pub(super) unknown: bool,
    /// What the user has said for always, in the project.
    told: trust::hosts::Remembered,
    /// For how long a connection is held.
    pub(super) patience: Millis,
    /// The project for which an answer is kept.
    pub(super) root: PathBuf,
}

impl Reach {
    /// # Errors
    /// A wflo.toml that cannot be read, where it may ask about what is let through here.
    pub(super) fn of(args: &ExecArgs, context: &Context<'_>) -> Result<Reach, CommandError> {
        let location = Location {
            project: context.global.project.clone(),
            data_dir: context.global.data_dir.clone(),
            workflow: None,
            current: context.current.clone(),
        };
        let named = !args.allow_hosts.is_empty() || !args.ask_rules.is_empty() || args.ask_hosts;
        let settings = match Settings::load(&location, context.environment) {
            Ok(settings) => settings,
            Err(error) if named => return Err(error.into()),
            // Nothing is reached: there is nothing that it could ask about.
            Err(_) => Settings::without_file(&location)?,
        };
        let root = settings.project.root;
        // Each was read with its file.
        let of_project = settings.sandbox.ask_rules.iter().filter_map(|rule| rule.parse().ok());
        Ok(Reach {
            allow: args.allow_hosts.clone(),
            asks: args.ask_rules.iter().cloned().chain(of_project).collect(),
            unknown: args.ask_hosts,
            told: trust::hosts::read(&root)?,
            patience: settings.sandbox.patience,
            root,
        })
    }

    /// Whether there is anything to let out, now or after an answer.
    fn is_any(&self) -> bool {
        !self.allow.is_empty() || self.asks_people()
    }

    /// Whether people may be asked.
    pub(super) fn asks_people(&self) -> bool {
        !self.asks.is_empty() || self.unknown
    }

    /// As the runs of the project have them: what is asked about stands before what is allowed, an answer for
    /// always answers where people would be asked, and a no for always keeps out whatever is named.
    fn rules(&self) -> Result<Rules, CommandError> {
        let texts: Vec<String> = self.allow.iter().map(ToString::to_string).collect();
        let about = Rules::default().asking(self.asks.clone());
        let said = |rules: &std::collections::BTreeSet<String>| -> Vec<Rule> {
            rules.iter().filter_map(|rule| rule.parse().ok()).collect()
        };
        let allowed = said(&self.told.allow).into_iter();
        let allowed = allowed.filter(|rule| self.unknown || about.cover(rule));
        let allowed = allowed.map(|rule| Change { rule, allowed: true, is_answer: true });
        let denied =
            said(&self.told.deny).into_iter().map(|rule| Change { rule, allowed: false, is_answer: true });
        Ok(Rules::parse(&texts, &[])?.asking(self.asks.clone()).with(allowed).with(denied))
    }
}

/// Asks for the listener, where a host is allowed; where a rule names a part of one, for what sees that, and for
/// the file `trusted` inside.
///
/// # Errors
/// When nothing can be seen here.
pub(super) fn ask(spec: &mut Spec, reach: &Reach, trusted: &str) -> Result<Option<Sight>, CommandError> {
    if !reach.is_any() {
        return Ok(None);
    }
    spec.egress_listener = true;
    let given: Vec<OsString> = spec.env.iter().map(|(name, _)| name.clone()).collect();
    let own = client_env(EGRESS_PORT).into_iter().map(|(name, value)| (name.into(), value.into()));
    spec.env.extend(own.filter(|(name, _)| !given.contains(name)));
    if !reach.rules()?.need_sight() {
        return Ok(None);
    }
    let inspection = Inspection::new(Arc::new(Roots::load(None)?), Secrets::default())?;
    let file = inspection.shown().map_err(unusable)?;
    spec.ro.push(Bind::new(file.path(), trusted));
    let trusted = trust_env(trusted).into_iter().map(|(name, value)| (name.into(), value.into()));
    spec.env.extend(trusted.filter(|(name, _): &(OsString, OsString)| !given.contains(name)));
    Ok(Some((Arc::new(inspection), file)))
}

fn unusable(error: std::io::Error) -> CommandError {
    CommandError::from_failure(Failure::new(Code(9005), format!("connections cannot be served: {error}")))
}

impl Network {
    /// Serves the listener of a sandbox, if it has one; with whom its user is asked by, where one sits here.
    ///
    /// # Errors
    /// When it cannot be served.
    pub(super) fn open<'a>(
        listener: Option<TcpListener>,
        reach: &Reach,
        sight: Option<Sight>,
        (ends, context): (&Ends, &Context<'a>),
    ) -> Result<(Option<Network>, Option<Questions<'a>>), CommandError> {
        let Some(listener) = listener else { return Ok((None, None)) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(unusable)?;
        let rules = if sight.is_some() { reach.rules()?.seeing(Vec::new()) } else { reach.rules()? };
        let (tell, rules) = watch::channel(Arc::new(rules));
        let (asker, questions) = match reach.asks_people() {
            true => {
                let (asking, questions) = Asking::new(reach, tell, (ends.outer(), context));
                (Some(Arc::new(asking) as Arc<dyn wflo_egress::ask::Asker>), questions)
            }
            // Nobody changes them while the command runs.
            false => (None, None),
        };
        let book = Arc::new(Book::default());
        let egress = Egress {
            rules,
            asker,
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
        Ok((Some(Network { runtime, handle, book }), questions))
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
