//! Budgets on calls of tools: counted once, before they begin.

use wflo_core::budget::{Amount, Budget, Measure};
use wflo_core::effect::EffectKind;
use wflo_core::ports::store::{Batch, Op};

use super::*;
use crate::outbox::{Line, Outbox, What};
use crate::protocol::{Answer, EffectCall, ToRunner};

/// A runner that carries out every tool at once.
async fn runner(broker: Arc<Broker>, mut line: Line) {
    while let Some(outgoing) = line.next().await {
        if let What::Frame(ToRunner::EffectResult { path, seq, answer: Answer::Ok(what), .. }) = outgoing.what
            && what["execute"] == true
        {
            broker.tool_done(&On { path, seq }, json!({ "exit_code": 0 }));
        }
    }
}

/// So many tools one after the other: the step's end, with how many it has got an answer of.
async fn run_tools(attempt: Attempt, calls: &Arc<Calls>, many: u32) -> End {
    let (journal, services) = (Arc::clone(&calls.journal), Arc::clone(&calls.services));
    let broker = Arc::new(Broker::new(attempt, journal, services));
    let (sink, line) = Outbox::new();
    let runner = tokio::spawn(runner(Arc::clone(&broker), line));
    let mut end = done(json!(many));
    for seq in 0..many {
        let on = On { path: "0".into(), seq };
        let call = EffectCall {
            path: on.path.clone(),
            seq,
            kind: EffectKind::Tool,
            name: "run".into(),
            request: json!({ "argv": ["true", seq] }),
            after: 0,
        };
        let waits = async {
            loop {
                if let Some(waits) = broker.waits.of(std::slice::from_ref(&on)) {
                    return waits;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let answered = tokio::select! {
            answered = broker.perform(call, &sink) => answered.ok(),
            on = waits => {
                end = End::Suspended { on };
                break;
            }
        };
        // Without an answer it is in the journal.
        if let Some(Answer::Error(error)) = answered.expect("it is answered").answer {
            let error = Failure::new(Code(4001), error.message);
            end = End::Failed {
                no_retry: Some(error.clone()),
                error,
                timed_out: false,
                keep: Vec::new(),
                left: None,
            };
            break;
        }
    }
    broker.end_waits();
    broker.calls.close().await;
    runner.abort();
    end
}

fn each_runs(world: &World, many: u32) {
    world.on(move |attempt, calls, _| async move { run_tools(attempt, &calls, many).await });
}

fn limit(more: &Value) -> Value {
    let mut budget = json!({"max_tool_calls": 1});
    budget.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "budgets": [budget] })
}

async fn account(world: &World, run: RunId) -> Budget {
    let all = world.store.budgets(vec![run.to_string()]).await.unwrap();
    all.into_iter().find(|budget| budget.measure == Measure::ToolCalls).expect("it was opened")
}

async fn counted(world: &World, run: RunId) -> (i64, i64) {
    let account = account(world, run).await;
    (account.settled.units(), account.held.units())
}

async fn waits(world: &World, run: RunId) {
    let waiting = || async { world.store.run(run).await.unwrap().unwrap().status == RunStatus::Waiting };
    until("the run waits", waiting).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_beside_each_other_run_as_many_tools_as_there_is_room_for_and_the_run_halts() {
    let world = world().await;
    each_runs(&world, 3);
    let steps: Vec<Value> = (0..3)
        .map(|n| json!({"name": format!("s{n}"), "type": "agent", "handler": "code", "depends_on": []}))
        .collect();
    let budgets = json!([{"max_tool_calls": 5, "action_on_exceeded": "halt"}]);
    let run = world.submit(&json!({ "steps": steps, "budgets": budgets })).await;
    assert_eq!(world.ended(run).await, RunStatus::Halted);
    let rows = world.store.run_effects(run).await.unwrap();
    let begun = rows.iter().filter(|row| !matches!(row.state, EffectState::Failed { .. })).count();
    assert_eq!((counted(&world, run).await, begun), ((5, 0), 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_asked_for_more_tools_and_a_resume_counts_nothing_twice() {
    let world = world().await;
    each_runs(&world, 2);
    let run = world.submit(&limit(&json!({"action_on_exceeded": "ask"}))).await;
    until("it asks", || async { world.approvals(run).await.len() == 1 }).await;
    waits(&world, run).await;
    assert_eq!(counted(&world, run).await, (1, 0));
    let question = world.approvals(run).await.remove(0);
    world.decide(run, &question, None).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!((counted(&world, run).await, world.approvals(run).await.len()), ((2, 0), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_waits_in_the_queue_until_its_budget_is_topped_up() {
    let world = world().await;
    each_runs(&world, 2);
    let run = world.submit(&limit(&json!({"action_on_exceeded": "queue"}))).await;
    waits(&world, run).await;
    let queued = world.store.events(run, 0, 0).await.unwrap().into_iter().find_map(|e| match e.event.body {
        EventBody::BudgetQueued { key, shortfall, .. } => Some((key, shortfall)),
        _ => None,
    });
    let (key, shortfall) = queued.expect("it says that it is queued");
    assert_eq!((key.path.as_str(), key.seq, shortfall.budget.limit.units()), ("0", 1, 1));
    let top_up = Op::TopUp {
        budget: shortfall.budget.id,
        amount: Amount::from_units(1),
        by: "me".into(),
        at: world.clock.now(),
    };
    world.store.commit(Batch { fence: None, ops: vec![top_up] }).await.unwrap();
    let wake = Message::Wake { step: key.step, path: key.path, seq: key.seq };
    world.engine.send(run, &wake).await.unwrap();
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!(counted(&world, run).await, (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_queued_no_longer_than_its_budget_says() {
    let world = world().await;
    each_runs(&world, 2);
    let limits = limit(&json!({"action_on_exceeded": "queue", "queue_timeout_seconds": "0.05"}));
    let run = world.submit(&limits).await;
    assert_eq!(world.ended(run).await, RunStatus::Halted);
    assert_eq!(counted(&world, run).await, (1, 0));
}
