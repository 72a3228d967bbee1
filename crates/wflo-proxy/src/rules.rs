//! Which limits apply to a call of the gateway.
//!
//! Owns the choice: what files say (`[budget]`, `[[budgets]]`), what people keep with `wflo budgets set`, and
//! what a key has of its own. What the limits of one account come to together is the core's.

use std::collections::BTreeMap;

use jiff::Timestamp;
use wflo_core::budget::{Applied, Applying, LOCAL_ORG, Measure, OnExceeded, Period, Scope, Standing};
use wflo_core::definition::{BudgetSpec, Per};
use wflo_core::error::{Code, Failure};
use wflo_core::key::VirtualKey;
use wflo_core::size::Millis;

/// The account of all calls of the gateway together.
pub const GATEWAY: &str = "gateway";

/// How long a call is queued when nothing else is said: what stock clients wait for an answer.
const QUEUE: Millis = Millis(600_000);

/// What files say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// Limits: those of `scope = "gateway"`, `org`, `label` and `key` count calls of the gateway.
    pub budgets: Vec<BudgetSpec>,
    /// The organisation, if the project names one.
    pub org: Option<String>,
}

impl Rules {
    /// The accounts of a call with this key, but for those that it takes nothing of.
    pub(crate) fn accounts(
        &self,
        standing: &[Standing],
        key: Option<&VirtualKey>,
        now: Timestamp,
    ) -> Vec<Applied> {
        // Nobody sits at a gateway to be asked.
        let mut applying = Applying::new(now, OnExceeded::Halt, QUEUE);
        for spec in &self.budgets {
            if let Some(name) = self.account(spec, key) {
                applying.add(spec, &name);
            }
        }
        if let Some((key, spec)) = key.and_then(|key| Some((key, of_key(key)?))) {
            applying.add(&spec, &name_of(key));
        }
        standing
            .iter()
            .filter(|standing| self.has(standing, key))
            .for_each(|standing| applying.stand(standing));
        let mut accounts = applying.accounts();
        accounts.retain(|applied| counts(applied.budget.measure));
        accounts
    }

    /// Which account a limit has for calls with this key.
    fn account(&self, spec: &BudgetSpec, key: Option<&VirtualKey>) -> Option<String> {
        match spec.covers().0 {
            Scope::Gateway => Some(GATEWAY.to_owned()),
            Scope::Org => Some(self.org().to_owned()),
            Scope::Key => key.map(name_of),
            Scope::Label => spec.labelled(&key?.labels),
            Scope::Run | Scope::Step | Scope::Agent | Scope::Workflow => None,
        }
    }

    fn has(&self, standing: &Standing, key: Option<&VirtualKey>) -> bool {
        match standing.scope {
            Scope::Gateway => standing.key == GATEWAY,
            Scope::Org => standing.key == self.org(),
            Scope::Key => {
                key.is_some_and(|key| standing.key == key.name || standing.key == key.id.to_string())
            }
            Scope::Label => standing.labelled(key.map_or(&BTreeMap::new(), |key| &key.labels)),
            Scope::Run | Scope::Step | Scope::Agent | Scope::Workflow => false,
        }
    }

    fn org(&self) -> &str {
        self.org.as_deref().unwrap_or(LOCAL_ORG)
    }

    /// What of this, and of the standing budgets, no call of the gateway can be held on or do, to be said when it
    /// starts.
    pub fn idle(&self, standing: &[Standing]) -> Vec<Failure> {
        let mut said = Vec::new();
        let of_runs = |scope: Scope| scope.is_of_a_run() || scope == Scope::Workflow;
        let mut scopes: Vec<&str> = Vec::new();
        scopes
            .extend(self.budgets.iter().map(|spec| spec.covers().0).filter(|s| of_runs(*s)).map(Scope::name));
        scopes
            .extend(standing.iter().map(|standing| standing.scope).filter(|s| of_runs(*s)).map(Scope::name));
        scopes.sort_unstable();
        scopes.dedup();
        if !scopes.is_empty() {
            let scopes = scopes.join(", ");
            let message = format!("budgets per {scopes} count calls of runs alone, none of the gateway");
            let hint = "a limit on the gateway's calls has the scope gateway, org, label or key";
            said.push(Failure::new(Code(4110), message).with_hint(hint));
        }
        let of_these = |spec: &&BudgetSpec| !of_runs(spec.covers().0);
        let files =
            self.budgets.iter().filter(of_these).flat_map(BudgetSpec::limits).map(|(measure, _)| measure);
        let people =
            standing.iter().filter(|standing| !of_runs(standing.scope)).map(|standing| standing.measure);
        if files.chain(people).any(|measure| !counts(measure)) {
            let message =
                "max_tool_calls and max_seconds count tools and time of runs alone: the gateway has neither";
            let hint = "max_model_calls and max_tokens count calls of the gateway, too";
            said.push(Failure::new(Code(4110), message).with_hint(hint));
        }
        let asks = |action: Option<OnExceeded>| action == Some(OnExceeded::Ask);
        if self.budgets.iter().any(|spec| !of_runs(spec.covers().0) && asks(spec.action_on_exceeded))
            || standing.iter().any(|s| !of_runs(s.scope) && asks(s.action_on_exceeded))
        {
            let message = "nobody can be asked at the gateway: a call that does not fit a budget with action_on_exceeded = \"ask\" is refused there";
            let hint = "raise it with `wflo budgets top-up`, or let such calls wait for that with \"queue\"";
            said.push(Failure::new(Code(4111), message).with_hint(hint));
        }
        said
    }
}

/// Whether a call of the gateway takes any of it.
fn counts(measure: Measure) -> bool {
    matches!(measure, Measure::Cost | Measure::ModelCalls | Measure::Tokens)
}

/// The name of a key's accounts: names are given again once their key is gone.
fn name_of(key: &VirtualKey) -> String {
    format!("{}/{}", key.id, key.name)
}

/// What a key may spend, as a limit like any other.
fn of_key(key: &VirtualKey) -> Option<BudgetSpec> {
    let budget = key.budget.as_ref()?;
    Some(BudgetSpec {
        max_cost_usd: Some(budget.limit),
        per: Per::Key,
        period: Some(budget.period).filter(|period| *period != Period::Total),
        time_zone: Some(budget.time_zone.clone()),
        ..BudgetSpec::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wflo_core::budget::Zone;

    fn limit(per: Per) -> BudgetSpec {
        BudgetSpec { max_model_calls: Some(1), per, ..BudgetSpec::default() }
    }

    fn kept(scope: Scope, key: &str) -> Standing {
        Standing {
            scope,
            key: key.to_owned(),
            period: Period::Total,
            time_zone: Zone::utc(),
            measure: Measure::ModelCalls,
            limit: 1_u64.into(),
            action_on_exceeded: None,
            alert_thresholds: Vec::new(),
            min_output_tokens: None,
        }
    }

    fn named(budgets: Vec<BudgetSpec>, standing: &[Standing]) -> Vec<(String, String)> {
        let idle = Rules { budgets, org: None }.idle(standing);
        idle.into_iter().map(|failure| (failure.code, failure.message)).collect()
    }

    #[test]
    fn what_holds_no_call_here_is_named_once_and_nothing_else_is() {
        let all = [Per::Gateway, Per::Org, Per::Key].map(limit).to_vec();
        let standing = [kept(Scope::Org, "local"), kept(Scope::Key, "ci"), kept(Scope::Gateway, GATEWAY)];
        assert!(named(all.clone(), &standing).is_empty());
        let tools = BudgetSpec { max_tool_calls: Some(1), ..limit(Per::Org) };
        let asks = BudgetSpec { action_on_exceeded: Some(OnExceeded::Ask), ..limit(Per::Gateway) };
        let of_runs = BudgetSpec { action_on_exceeded: Some(OnExceeded::Ask), ..limit(Per::Run) };
        let budgets = [all, vec![tools, asks, of_runs.clone(), of_runs]].concat();
        let said = named(budgets, &[kept(Scope::Workflow, "nightly")]);
        let codes: Vec<&str> = said.iter().map(|(code, _)| code.as_str()).collect();
        assert_eq!(codes, ["WFLO-4110", "WFLO-4110", "WFLO-4111"]);
        assert!(said[0].1.contains("budgets per run, workflow count"), "{said:?}");
        assert!(said[1].1.contains("max_tool_calls"), "{said:?}");
    }

    #[test]
    fn a_standing_budget_of_a_key_names_it_by_its_name_or_its_id() {
        let key = VirtualKey {
            id: wflo_core::id::KeyId::from_uuid(uuid::Uuid::from_u128(7)),
            name: "ci".into(),
            hash: String::new(),
            prefix: String::new(),
            models: Vec::new(),
            budget: None,
            labels: [("team".to_owned(), "search".to_owned())].into(),
            requests_per_minute: None,
            metrics: false,
            created_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
            revoked_at: None,
        };
        let standing = [
            kept(Scope::Key, "ci"),
            kept(Scope::Key, &key.id.to_string()),
            kept(Scope::Key, "other"),
            kept(Scope::Label, "team=search"),
            kept(Scope::Label, "team=ads"),
            kept(Scope::Agent, "ci"),
        ];
        let rules = Rules::default();
        let count = |key| rules.accounts(&standing, key, Timestamp::UNIX_EPOCH).len();
        assert_eq!((count(Some(&key)), count(None)), (3, 0));
    }
}
