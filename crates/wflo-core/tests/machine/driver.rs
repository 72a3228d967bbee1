//! A driver without a store, and what it is told.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use wflo_core::approval::{ApprovalRequest, Binding, OnTimeout, Purpose};
use wflo_core::budget::{Amount, Budget, Measure, OnExceeded, Period, Scope, Shortfall, Zone};
use wflo_core::canonical::Digest;
use wflo_core::definition::Definition;
use wflo_core::effect::EffectKey;
use wflo_core::error::{Code, Failure};
use wflo_core::event::Event;
use wflo_core::id::BudgetId;
use wflo_core::machine::{Attempt, Command, CommandBody, RunState, replay, step};
use wflo_core::money::NanoUsd;

pub(crate) fn definition(json: &Value) -> Arc<Definition> {
    Arc::new(Definition::parse(json).unwrap())
}

pub(crate) fn start_state(json: &Value) -> RunState {
    RunState::new(definition(json), Arc::new(json!({"go": true})), Digest::of_bytes(b"code"))
}

pub(crate) struct Driver {
    pub(crate) initial: RunState,
    pub(crate) state: RunState,
    pub(crate) events: Vec<Event>,
    pub(crate) now: Timestamp,
    pub(crate) epoch: u64,
    pub(crate) seeds: u128,
}

impl Driver {
    pub(crate) fn new(json: &Value) -> Self {
        let initial = start_state(json);
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let mut driver = Driver { state: initial.clone(), initial, events: vec![], now, epoch: 1, seeds: 0 };
        driver.tell(CommandBody::Start { version: Digest::of_bytes(b"v"), carried: vec![] }).unwrap();
        driver
    }

    pub(crate) fn tell(&mut self, body: CommandBody) -> Result<Vec<Event>, wflo_core::machine::Rejection> {
        self.seeds += 1;
        let seed = uuid::Uuid::from_u128(self.seeds << 64);
        let (events, next) = step(&self.state, Command { at: self.now, seed, draw: 0.5, body })?;
        let folded = replay(self.state.clone(), &events);
        assert_eq!(folded, next, "a driver that folds gets the machine's own state");
        self.state = next;
        self.events.extend(events.clone());
        Ok(events)
    }

    pub(crate) fn attempt(&self, name: &str) -> Attempt {
        let step = self.state.step(name).unwrap();
        Attempt { generation: step.generation, attempt: step.attempt }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.state.definition.steps.iter().map(|s| s.name.clone()).collect()
    }
}

pub(crate) fn ask(step: &str) -> CommandBody {
    let effect = EffectKey { step: step.to_owned(), generation: 1, path: "0".into(), seq: 0 };
    let digest = Digest::of_bytes(b"x");
    CommandBody::Ask {
        request: Box::new(ApprovalRequest {
            purpose: Purpose::Write { effect },
            step: Some(step.to_owned()),
            generation: 1,
            title: "delete rows".into(),
            evidence: json!({"rows": 3}),
            binding: Binding { action: digest.clone(), code: digest.clone(), evidence: digest },
            approvers: vec![],
            quorum: 1,
            expires_at: None,
            on_timeout: OnTimeout::Reject,
            notify: vec![],
        }),
    }
}

pub(crate) fn shortfall() -> Box<Shortfall> {
    Box::new(Shortfall {
        budget: Budget {
            id: BudgetId::from_uuid(uuid::Uuid::from_u128(7)),
            scope: Scope::Run,
            key: "run".into(),
            period: Period::Total,
            period_start: String::new(),
            time_zone: Zone::utc(),
            standing: false,
            measure: Measure::Cost,
            limit: Amount::from_units(10),
            settled: Amount::from_units(9),
            held: Amount::ZERO,
            action_on_exceeded: OnExceeded::Halt,
            alert_thresholds: vec![],
        },
        wanted: Amount::from_units(5),
    })
}

pub(crate) fn lost(step: &str, attempt: Attempt, answered: Option<u32>) -> CommandBody {
    CommandBody::StepLost { step: step.into(), attempt, reason: "killed".into(), active_ms: 3, answered }
}

pub(crate) fn failure() -> Failure {
    Failure::new(Code(3999), "boom")
}

pub(crate) fn succeed(driver: &mut Driver, name: &str) -> Vec<Event> {
    let epoch = driver.epoch;
    driver.tell(CommandBody::StepStarted { step: name.into(), epoch }).unwrap();
    let attempt = driver.attempt(name);
    driver
        .tell(CommandBody::StepSucceeded {
            step: name.into(),
            attempt,
            output: json!({"from": name}),
            state: None,
            cost: NanoUsd::ZERO,
            layer: None,
        })
        .unwrap()
}

pub(crate) fn diamond() -> Value {
    json!({"name": "diamond", "steps": [
        {"name": "a", "type": "agent", "handler": "code"},
        {"name": "b", "type": "agent", "handler": "code", "depends_on": ["a"], "retries": 1, "rollback_enabled": true},
        {"name": "gate", "type": "approval", "depends_on": ["a"]},
        {"name": "c", "type": "agent", "handler": "code", "depends_on": ["b", "gate"]},
    ]})
}
