//! What an attempt's sandbox is given so that its program finds the way out, and trusts whom it meets there.

use std::sync::Arc;

use wflo_core::error::Coded as _;
use wflo_egress::inspect::{Inspection, Shown, trust_env};
use wflo_egress::rules::Rule;
use wflo_egress::secrets::Secrets;
use wflo_egress::{Limits, Rules, Totals};
use wflo_sandbox::{Bind, e2b};

use super::{is_wanted, rules, without};
use crate::error::EngineError;
use crate::executor::Attempt;
use crate::launch::{Backend, Launch};
use crate::sandboxed::Shape;
use crate::services::Services;

/// Where the certificates are that the program trusts, where the sandbox is on this machine.
const TRUSTED: &str = "/opt/wflo/trusted.pem";

/// The way out of one attempt's sandbox, before there is one.
pub(crate) struct WayOut {
    is_wanted: bool,
    pub(super) rules: Rules,
    pub(super) inspection: Option<Arc<Inspection>>,
    pub(super) limits: Limits,
    pub(super) totals: Arc<Totals>,
    /// The file that is shown; needed until the sandbox is there.
    file: Option<Shown>,
    /// Where its program finds it.
    trusted: &'static str,
    /// What the program holds instead of values.
    placeholders: Vec<(String, String)>,
}

impl WayOut {
    /// Makes ready what is needed: where nothing is looked into, nothing.
    ///
    /// # Errors
    /// A rule that is none; a secret that cannot be had; whom this machine trusts.
    pub(crate) async fn prepare(
        launch: &Launch,
        attempt: &Attempt,
        services: &Services,
    ) -> Result<WayOut, EngineError> {
        let rules = without(rules(launch)?, &services.hosts.kept_out().await?)?;
        let held = launch.secrets.iter().map(|held| (held.env.clone(), held.placeholder.clone()));
        let (is_wanted, limits) = (is_wanted(launch, attempt), Limits::of(&launch.sandbox.network));
        let totals = match is_wanted {
            true => attempt.remaining.of(&*services.store, attempt.run, &limits).await?,
            false => Arc::new(Totals::new(&limits)),
        };
        let mut way_out = WayOut {
            is_wanted,
            rules,
            inspection: None,
            limits,
            totals,
            file: None,
            trusted: if launch.backend == Backend::E2b { e2b::TRUSTED } else { TRUSTED },
            placeholders: held.collect(),
        };
        if !way_out.is_wanted || !launch.looks() {
            return Ok(way_out);
        }
        let failed = |e: wflo_egress::RuleError| EngineError::Failure(e.to_failure());
        let read = |rule: &String| rule.parse::<Rule>().map_err(failed);
        let mut seen = launch.inspect_hosts.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let secrets = services.hosts.secrets(&launch.secrets).await?;
        seen.extend(secrets.iter().flat_map(|secret| secret.hosts.iter().cloned()));
        let inspection = Inspection::new(services.hosts.roots().await?, Secrets::new(secrets));
        let inspection = inspection.map_err(|e| EngineError::Failure(e.to_failure()))?;
        let unusable =
            |e: std::io::Error| EngineError::Unreadable(format!("the certificates of a sandbox: {e}"));
        let file = inspection.shown().map_err(unusable)?;
        way_out.rules = way_out.rules.seeing(seen);
        way_out.inspection = Some(Arc::new(inspection));
        way_out.file = Some(file);
        Ok(way_out)
    }

    /// Adds what the program needs to what its sandbox is asked to be.
    pub(crate) fn dress(&self, shape: &mut Shape) {
        shape.egress = self.is_wanted;
        let held = self.placeholders.iter().cloned();
        let trusted = self.file.as_ref().map(|_| trust_env(self.trusted)).unwrap_or_default();
        shape.env.extend(held.chain(trusted).map(|(name, value)| (name.into(), value.into())));
        shape.ro.extend(self.file.iter().map(|file| Bind::new(file.path(), self.trusted)));
    }

    /// Whether it is this attempt's alone: an authority for its certificates.
    pub(crate) fn is_its_own(&self) -> bool {
        self.inspection.is_some()
    }

    /// The sandbox is there: it keeps what it was shown.
    pub(crate) fn is_dressed(&mut self) {
        self.file = None;
    }
}
