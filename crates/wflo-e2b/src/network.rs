//! What a sandbox may reach: the hosts that the server allows, or fewer where its client says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::sync::watch;
use wflo_core::error::Coded as _;
use wflo_core::ports::BoxFuture;
use wflo_egress::host::Target;
use wflo_egress::inspect::roots::Roots;
use wflo_egress::inspect::{Inspection, Shown};
use wflo_egress::resolve::SystemResolver;
use wflo_egress::secrets::Secrets;
use wflo_egress::witness::{End, Ended, Opening, Unrecorded, Witness};
use wflo_egress::{Egress, EgressHandle, Limits, Refusal, Rules, Totals};
use wflo_sandbox::ProcessTree;

use crate::audit::Audit;
use crate::error::{ApiError, ServeError};

/// How many refusals of one sandbox are recorded, and how many connections: a hostile program can be refused, and
/// connect, as often as it likes. The rest is counted.
const REFUSALS: u64 = 200;
const OPENED: u64 = 1_000;

/// What lets a sandbox's connections out.
pub(crate) struct Network {
    handle: EgressHandle,
    rules: watch::Sender<Arc<Rules>>,
    /// Whether requests of TLS are seen.
    sees: bool,
    counts: Arc<Counts>,
}

/// How many connections there were, and refusals.
#[derive(Debug, Default)]
struct Counts {
    opened: AtomicU64,
    refused: AtomicU64,
}

/// What sees requests of TLS, and what the sandbox is to trust for that.
pub(crate) struct Sight {
    inspection: Arc<Inspection>,
    /// Its certificates; needed until the sandbox is there.
    pub(crate) trusted: Shown,
}

impl Sight {
    /// Where rules name a part of a host. Blocks.
    ///
    /// # Errors
    /// When a rule is none, or nothing can be seen here.
    pub(crate) fn of(hosts: &[String]) -> Result<Option<Sight>, ServeError> {
        if !Rules::parse(hosts, &[])?.need_sight() {
            return Ok(None);
        }
        // An authority of its own for each sandbox.
        let inspection = Inspection::new(Arc::new(Roots::load(None)?), Secrets::default())?;
        let trusted = inspection.shown().map_err(ServeError::System)?;
        Ok(Some(Sight { inspection: Arc::new(inspection), trusted }))
    }
}

impl Network {
    /// Other hosts from now on.
    ///
    /// # Errors
    /// When one is none; that a part of a host would have to be seen, where nothing is.
    pub(crate) fn allow(&self, hosts: &[String]) -> Result<(), ApiError> {
        let rules = Rules::parse(hosts, &[]).map_err(|error| ApiError::Unclear(error.to_string()))?;
        if rules.need_sight() && !self.sees {
            let why = "the sandbox was made without what sees requests";
            return Err(ApiError::NotHere { what: "network.allowOut".to_owned(), why });
        }
        self.rules.send_replace(Arc::new(seen(rules, self.sees)));
        Ok(())
    }

    /// Ends every connection and takes none, while the sandbox is paused.
    pub(crate) fn hold(&self, held: bool) {
        self.handle.hold(held);
    }

    /// Ends every connection; gives what of them is on no line of the audit log, where that is anything.
    pub(crate) async fn stop(self) -> Option<Value> {
        self.handle.stop().await;
        let opened = self.counts.opened.load(Ordering::Relaxed).saturating_sub(OPENED);
        let refused = self.counts.refused.load(Ordering::Relaxed).saturating_sub(REFUSALS);
        (opened + refused > 0).then(|| json!({ "opened": opened, "refused": refused }))
    }
}

fn seen(rules: Rules, sees: bool) -> Rules {
    if sees { rules.seeing(Vec::new()) } else { rules }
}

/// Lets the sandbox's connections out, as far as `hosts` allow; nothing where it was not asked for.
///
/// # Errors
/// When a rule is none, or the listener cannot be served.
pub(crate) fn open(
    tree: &ProcessTree,
    hosts: &[String],
    sight: Option<Sight>,
    sandbox: &str,
    audit: &Arc<Audit>,
) -> Result<Option<Network>, ServeError> {
    let Some(listener) = tree.take_egress_listener() else { return Ok(None) };
    let counts = Arc::new(Counts::default());
    let witness =
        Recorder { sandbox: sandbox.to_owned(), audit: Arc::clone(audit), counts: Arc::clone(&counts) };
    let sees = sight.is_some();
    let (rules, current) = watch::channel(Arc::new(seen(Rules::parse(hosts, &[])?, sees)));
    let egress = Egress {
        rules: current,
        // Nobody is there who could be asked.
        asker: None,
        inspection: sight.map(|sight| sight.inspection),
        limits: Limits::default(),
        totals: Arc::new(Totals::new(&Limits::default())),
        resolver: Arc::new(SystemResolver::default()),
        witness: Arc::new(witness),
    };
    let handle = egress.serve(listener).map_err(ServeError::System)?;
    Ok(Some(Network { handle, rules, sees, counts }))
}

/// Writes each connection into the audit log.
struct Recorder {
    sandbox: String,
    audit: Arc<Audit>,
    counts: Arc<Counts>,
}

impl Recorder {
    fn refusal(&self, target: Option<&Target>, refusal: &Refusal) {
        if self.counts.refused.fetch_add(1, Ordering::Relaxed) < REFUSALS {
            let target = target.map(ToString::to_string);
            let details =
                json!({ "host": target, "why": refusal.to_string(), "code": refusal.code().to_string() });
            self.audit.record("connection.refused", &self.sandbox, &details);
        }
    }
}

impl Witness for Recorder {
    fn opens<'a>(&'a self, opening: &'a Opening) -> BoxFuture<'a, Result<(), Unrecorded>> {
        if self.counts.opened.fetch_add(1, Ordering::Relaxed) < OPENED {
            let details = json!({ "host": opening.target.to_string(), "way": opening.way.as_str() });
            self.audit.record("connection.opened", &self.sandbox, &details);
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn ended(&self, ended: Ended) {
        if let End::Refused(refusal) = &ended.end {
            self.refusal(Some(&ended.opening.target), refusal);
        }
    }

    fn refused(&self, target: Option<&Target>, refusal: &Refusal) {
        self.refusal(target, refusal);
    }
}
