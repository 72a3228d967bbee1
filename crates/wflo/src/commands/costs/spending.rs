//! The calls that a report is about, added up by step, agent, model and day.
//!
//! Owns which runs and days count. Runs that were removed are there by the lines that they left.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use wflo_core::cost::{self, Spent};
use wflo_core::effect::EffectRecord;
use wflo_core::id::{EngineId, KeyId, RunId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Clock as _;
use wflo_core::ports::store::{RunFilter, SliceStore as _, Store};
use wflo_core::run::RunRecord;
use wflo_core::slice::CallRecord;
use wflo_proxy::{ProxyError, recover_dead};

use crate::cli::{Days, RunRef};
use crate::commands::pick;
use crate::failure::CommandError;
use crate::session::{Session, coded};

/// The workflow that calls of the standalone gateway count as; each of its keys is a step and an agent.
pub(super) const GATEWAY: &str = "(gateway)";

/// Who called before there was any key.
const ANYBODY: &str = "(any key)";

/// One line, and where it comes from.
pub(super) struct Line {
    pub(super) spent: Spent,
    /// Its run was removed.
    pub(super) removed: bool,
    /// It is of no run: its run's id says nothing.
    pub(super) gateway: bool,
    /// The key of the gateway that it was called with.
    pub(super) key: Option<String>,
}

/// A call whose charge says something that its sum does not.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) run: RunId,
    pub(super) effect: EffectRecord,
}

/// All that was spent, as far as it is asked about.
#[derive(Default)]
pub(super) struct Spending {
    /// The runs that are still there, those without a call included.
    pub(super) runs: Vec<RunRecord>,
    pub(super) lines: Vec<Line>,
    /// Calls whose bill was lost.
    pub(super) uncertain: Vec<Call>,
    /// Those of the gateway, each with the process that made it.
    pub(super) lost: Vec<(EngineId, CallRecord)>,
    /// Calls that were billed above what they could cost at most.
    pub(super) overshot: Vec<Call>,
}

impl Spending {
    /// Reads it from the store.
    ///
    /// # Errors
    /// Store errors; a run that is not there.
    pub(super) async fn load(
        session: &Session<'_>,
        run: Option<&RunRef>,
        days: Days,
    ) -> Result<Self, CommandError> {
        let (runs, removed) = chosen(session, run).await?;
        let mut spending = Spending::default();
        for run in &runs {
            let mut effects = session.store.run_effects(run.id).await?;
            effects.retain(|effect| cost::is_call(effect) && days.hold(cost::day_of(effect.started_at)));
            let lines = cost::of_run(run, &effects).into_iter();
            spending.lines.extend(lines.map(|spent| Line {
                spent,
                removed: false,
                gateway: false,
                key: None,
            }));
            for effect in effects {
                let call = Call { run: run.id, effect };
                if call.is_overshot() {
                    spending.overshot.push(call.clone());
                }
                if call.effect.uncertain > NanoUsd::ZERO {
                    spending.uncertain.push(call);
                }
            }
        }
        let removed = removed.into_iter().filter(|spent| days.hold(spent.day));
        spending.lines.extend(removed.map(|spent| Line { spent, removed: true, gateway: false, key: None }));
        if run.is_none() {
            spending.add_gateway(session, days).await?;
        }
        // A run without a call is part of the answer, too; not one outside of the days.
        spending.runs = runs.into_iter().filter(|run| days.hold(cost::day_of(run.created_at))).collect();
        Ok(spending)
    }

    /// Adds the calls that were made outside of runs.
    async fn add_gateway(&mut self, session: &Session<'_>, days: Days) -> Result<(), CommandError> {
        let (store, now) = (&*session.store, session.clock.moment());
        // What a gateway that was killed has spent is not in the store before somebody brings it in.
        recover_dead(store, store.data_dir(), &now).await.map_err(|error| coded(&ProxyError::from(error)))?;
        let keys = store.keys().await?;
        let name = |id: Option<KeyId>| match keys.iter().find(|key| Some(key.id) == id) {
            // Names are used again: those of two keys are not one.
            Some(key) if keys.iter().filter(|other| other.name == key.name).count() > 1 => {
                format!("{} ({})", key.name, key.id)
            }
            Some(key) => key.name.clone(),
            None => id.map_or_else(|| ANYBODY.to_owned(), |id| id.to_string()),
        };
        for line in store.calls_lines().await? {
            let Ok(at) = line.hour.parse::<Timestamp>() else { continue };
            let (day, name) = (cost::day_of(at), name(line.key));
            if !days.hold(day) {
                continue;
            }
            let spent = Spent {
                run: RunId::from_uuid(uuid::Uuid::nil()),
                workflow: GATEWAY.to_owned(),
                labels: BTreeMap::new(),
                created_at: at,
                day,
                step: name.clone(),
                agent: Some(name.clone()),
                provider: Some(line.provider),
                model: Some(line.model),
                sum: line.sum,
            };
            self.lines.push(Line { spent, removed: false, gateway: true, key: Some(name) });
        }
        self.lost = store.uncertain_calls().await?;
        self.lost.retain(|(_, call)| days.hold(cost::day_of(at_of(call))));
        Ok(())
    }

    /// The first and the last day with a call.
    pub(super) fn days(&self) -> Option<(Date, Date)> {
        let days = || self.lines.iter().map(|line| line.spent.day);
        Some((days().min()?, days().max()?))
    }
}

/// When a call of the gateway ended.
pub(super) fn at_of(call: &CallRecord) -> Timestamp {
    Timestamp::from_millisecond(call.at_ms).unwrap_or_default()
}

impl Call {
    /// What it could cost at most, when its hold was taken.
    pub(super) fn hold(&self) -> Option<NanoUsd> {
        self.effect.attributes["hold_usd"].as_str()?.parse().ok()
    }

    /// What the last attempt was billed: lost ones before it had holds of their own.
    pub(super) fn billed(&self) -> NanoUsd {
        self.effect.cost.saturating_sub(self.effect.uncertain)
    }

    fn is_overshot(&self) -> bool {
        self.hold().is_some_and(|hold| self.billed() > hold)
    }

    pub(super) fn model(&self) -> Option<&str> {
        self.effect.attributes["model"].as_str()
    }
}

/// The runs that are asked about, and what removed ones left.
async fn chosen(
    session: &Session<'_>,
    which: Option<&RunRef>,
) -> Result<(Vec<RunRecord>, Vec<Spent>), CommandError> {
    let Some(which) = which else {
        return Ok((session.store.runs(RunFilter::default()).await?, session.store.spent().await?));
    };
    let picked = pick::run(session, which).await;
    if let (Err(_), RunRef::Id(id)) = (&picked, which) {
        let mut left = session.store.spent().await?;
        left.retain(|line| line.run == *id);
        if !left.is_empty() {
            return Ok((Vec::new(), left));
        }
    }
    Ok((vec![picked?], Vec::new()))
}
