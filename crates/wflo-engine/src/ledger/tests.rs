//! The ledger under a real gateway, a real store and a mock provider.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex as StdMutex;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wflo_core::approval::{Approval, ApprovalStatus, Decision};
use wflo_core::canonical::Digest;
use wflo_core::definition::Definition;
use wflo_core::id::RunId;
use wflo_core::ports::BoxFuture;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::spender::Spenders;
use wflo_core::ports::store::{ApprovalFilter, Fence, Store};
use wflo_core::run::{RunOptions, RunRecord, RunStatus};
use wflo_gateway::cache::{Cache, CacheSettings, Lookup};
use wflo_gateway::call::{CallError, ChatCall, ChatReply};
use wflo_gateway::dialect::{Dialect, Endpoint};
use wflo_gateway::error::GatewayError;
use wflo_gateway::gone::Gone;
use wflo_gateway::ledger::{CallPath, Caller};
use wflo_gateway::price::ModelSettings;
use wflo_gateway::route::{Provider, Routes};
use wflo_gateway::routing::Routing;
use wflo_gateway::turn::Turn;
use wflo_gateway::{Deadlines, Gateway, Limits};
use wflo_store::{SqliteStore, StoreOptions};
use wflo_testkit::model_server::{Answer, ModelServer};

use super::*;
use crate::broker::Broker;
use crate::clock::SystemClock;
use crate::engine::{Engine, Options};
use crate::executor::{Attempt, End, Executor, RunContext};
use crate::inbox::Message;
use crate::journal::{Journal, Meters};
use crate::services::Services;

mod again;
mod cached;
mod capped;
mod content;
mod counted;
mod frozen;
mod held;
mod limits;
mod operator;
mod overshot;
mod repeated;
mod share;
mod time;
mod tools;
mod turns;
mod unanswered;
mod world;

use world::*;

/// What every call of these tests is billed: 100 tokens at 2 USD a million.
const EACH: i64 = 200_000;
/// How much more it holds: a provider may count some tokens of its own.
const MARGIN: i64 = 16_000;
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn fifty_callers_against_a_budget_for_three_make_three_calls_and_halt_the_run() {
    let world = world().await;
    crowds(&world, 50);
    let run = world.submit(&budget(3, "halt")).await;
    assert_eq!(world.ended(run).await, RunStatus::Halted);
    assert_eq!(world.mock.counts().billed, 3);
    assert_eq!(world.money(run).await, (3 * EACH, 0));
    assert_eq!(world.store.overruns().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_do_not_fit_ask_one_question_and_go_on_after_the_top_up() {
    let world = world().await;
    crowds(&world, 20);
    let run = world.submit(&budget(3, "ask")).await;
    until("it asks", || async { world.approvals(run).await.len() == 1 }).await;
    until("the three are settled", || async { world.money(run).await == (3 * EACH, 0) }).await;
    let question = world.approvals(run).await.remove(0);
    world.decide(run, &question, Some(17 * EACH)).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!(world.approvals(run).await.len(), 1, "one question, however many calls wait for it");
    assert_eq!(world.mock.counts().billed, 20);
    assert_eq!(world.money(run).await, (20 * EACH, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_more_calls_ask_once_for_a_limit_that_is_large_beside_them() {
    let world = world().await;
    world.on(|_, calls, gateway| async move {
        for seq in 0..60 {
            call(gateway.clone(), Arc::clone(&calls), seq).await.unwrap();
        }
        done(Value::Null)
    });
    let run = world.submit(&budget(40, "ask")).await;
    until("it asks", || async { world.approvals(run).await.len() == 1 }).await;
    let question = world.approvals(run).await.remove(0);
    world.decide(run, &question, None).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!(
        world.approvals(run).await.len(),
        1,
        "what was given is used up before anybody is asked again"
    );
    assert_eq!(world.money(run).await, (60 * EACH, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_as_dear_as_the_limit_double_it_with_each_yes() {
    let world = world().await;
    world.on(|_, calls, gateway| async move {
        for seq in 0..8 {
            call(gateway.clone(), Arc::clone(&calls), seq).await.unwrap();
        }
        done(Value::Null)
    });
    let run = world.submit(&budget(1, "ask")).await;
    for asked in 1..=3 {
        until("it asks", || async {
            let all = world.approvals(run).await;
            all.len() == asked && all[0].status == ApprovalStatus::Pending
        })
        .await;
        let all = world.approvals(run).await;
        let evidence = &all[0].request.evidence;
        let amount = |name: &str| evidence[name].as_str().unwrap().parse::<NanoUsd>().unwrap();
        assert_eq!(amount("suggested_usd"), amount("limit_usd").rounded_up());
        world.decide(run, &all[0], None).await;
    }
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!(world.approvals(run).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_never_sent_costs_nothing() {
    // No other test can come to listen there, as it could at a port that was free a moment ago.
    let world = world_at(ModelServer::start().unwrap(), "http://127.0.0.1:1/v1").await;
    world.on(|_, calls, gateway| async move {
        let said = call(gateway, calls, 0).await;
        assert!(matches!(said, Err(CallError::Gateway(GatewayError::Unreachable { .. }))), "{said:?}");
        done(Value::Null)
    });
    let run = world.submit(&budget(3, "halt")).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!(world.money(run).await, (0, 0));
}

fn intent(calls: &Arc<Calls>) -> CallIntent {
    CallIntent {
        caller: Caller::new("test", Arc::clone(calls)),
        path: CallPath { dialect: Dialect::OpenAi, endpoint: Endpoint::Chat },
        model: "smol".into(),
        provider: "local".into(),
        address: "openai http://127.0.0.1:1/v1".into(),
        not_ready: None,
        fingerprint: "00".repeat(32),
        body: bytes::Bytes::new(),
        retry_of: None,
        hold: NanoUsd::from_nanos(EACH),
        max_input_tokens: 10,
        max_output_tokens: 100,
        positional: Some(("0".into(), 0)),
        since: tokio::time::Instant::now(),
        request_bytes: 10,
        stream: false,
        closer: None,
        shorter: None,
        cheaper: false,
        place: None,
        turn: Turn::free(),
        gone: Gone::never(),
        circle: None,
        cached: Lookup::none(),
    }
}

async fn lost_intent(calls: &Arc<Calls>) {
    // Sent, as far as anybody can tell; its ticket is dropped unanswered, as a crash would.
    assert!(matches!(RunLedger.open(intent(calls)).await, Ok(Opened::Dispatch { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_charged_in_full_and_the_call_is_made_again() {
    let world = world().await;
    world.on(|attempt, calls, gateway| async move {
        if attempt.attempt == 1 {
            lost_intent(&calls).await;
            return End::Lost { reason: "died".into() };
        }
        call(gateway, calls, 0).await.unwrap();
        done(Value::Null)
    });
    let run = world.submit(&budget(3, "halt")).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    let rows = world.store.run_effects(run).await.unwrap();
    assert_eq!((rows.len(), rows[0].uncertain.nanos(), rows[0].cost.nanos()), (1, EACH, 2 * EACH));
    assert_eq!((world.mock.counts().billed, world.money(run).await), (1, (2 * EACH, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_call_holds_is_charged_and_not_waited_for() {
    let world = world().await;
    world.on(|attempt, calls, gateway| async move {
        if attempt.attempt == 1 {
            lost_intent(&calls).await;
            return End::Lost { reason: "died".into() };
        }
        assert!(call(gateway, calls, 0).await.is_err());
        End::Stopped
    });
    // Room for one: the lost one may have been it, and nothing that runs will make room.
    let run = world.submit(&budget(1, "halt")).await;
    assert_eq!(world.ended(run).await, RunStatus::Halted);
    let row = &world.store.run_effects(run).await.unwrap()[0];
    assert_eq!((world.money(run).await, row.uncertain.nanos()), ((EACH, 0), EACH));
    assert!(matches!(row.state, EffectState::Failed { .. }), "nobody will make it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_call_that_is_not_made_again_is_charged_when_its_step_ends() {
    let world = world().await;
    world.on(|attempt, calls, _| async move {
        if attempt.attempt == 1 {
            lost_intent(&calls).await;
            return End::Lost { reason: "died".into() };
        }
        done(Value::Null)
    });
    let run = world.submit(&budget(3, "halt")).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!(world.money(run).await, (EACH, 0), "nothing is held for ever");
    let row = &world.store.run_effects(run).await.unwrap()[0];
    assert!(row.uncertain == row.cost && matches!(row.state, EffectState::Failed { .. }));
}

async fn post(port: u16, retry: Option<u32>) -> String {
    let body = request().to_string();
    let retry = retry.map(|n| format!("x-stainless-retry-count: {n}\r\n")).unwrap_or_default();
    let head = format!(
        "POST /openai/v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n{retry}\r\n{body}",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    body.to_owned()
}

fn serve(gateway: &Gateway, calls: &Arc<Calls>) -> (u16, wflo_gateway::serve::ServeHandle) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, gateway.serve(listener, Caller::new("test", Arc::clone(calls))).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_stock_clients_get_the_same_bytes_and_nothing_is_sent() {
    let world = world().await;
    let seen = Arc::new(StdMutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    world.on(move |attempt, calls, gateway| {
        let kept = Arc::clone(&kept);
        async move {
            let (port, handle) = serve(&gateway, &calls);
            for _ in 0..2 {
                let body = post(port, None).await;
                kept.lock().unwrap().push(body);
            }
            handle.stop(Duration::ZERO).await;
            if attempt.attempt == 1 { End::Lost { reason: "died".into() } } else { done(Value::Null) }
        }
    });
    let run = world.submit(&budget(9, "halt")).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    let seen = seen.lock().unwrap().clone();
    assert_eq!((seen.len(), &seen[0..2]), (4, &seen[2..4]));
    assert_eq!((world.mock.counts().requests, world.money(run).await), (2, (2 * EACH, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn five_identical_requests_are_five_calls_and_a_clients_retry_is_none() {
    let world = world().await;
    world.mock.hold();
    let mock_saw = Arc::new(tokio::sync::Notify::new());
    let go_on = Arc::clone(&mock_saw);
    world.on(move |_, calls, gateway| {
        let go_on = Arc::clone(&go_on);
        async move {
            let (port, handle) = serve(&gateway, &calls);
            let mut five = tokio::task::JoinSet::new();
            for _ in 0..5 {
                five.spawn(post(port, None));
            }
            go_on.notified().await;
            five.spawn(post(port, Some(1)));
            let answers = five.join_all().await;
            handle.stop(Duration::ZERO).await;
            done(json!(answers.len()))
        }
    });
    let run = world.submit(&budget(9, "halt")).await;
    until("five arrived", || async { world.mock.counts().requests == 5 }).await;
    mock_saw.notify_one();
    // The sixth attaches whether it comes before the answers or after them.
    world.mock.release();
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!((world.mock.counts().requests, world.money(run).await), (5, (5 * EACH, 0)));
    assert_eq!(world.store.run_effects(run).await.unwrap().len(), 5);
}

fn policy(action: &Value) -> Value {
    json!({"policies": [{"name": "p", "condition": "estimated_cost > 0.0001", "actions": [action]}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_denies_every_call_of_a_crowd_and_rejects_the_run() {
    let world = world().await;
    crowds(&world, 8);
    let run = world.submit(&policy(&json!({"type": "deny"}))).await;
    assert_eq!(world.ended(run).await, RunStatus::Rejected);
    assert_eq!(world.mock.counts().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_asks_once_a_run_however_many_calls_come_to_it() {
    let world = world().await;
    crowds(&world, 8);
    let run = world.submit(&policy(&json!({"type": "require_approval", "approvers": ["finance"]}))).await;
    until("it asks", || async { !world.approvals(run).await.is_empty() }).await;
    let question = world.approvals(run).await.remove(0);
    world.decide(run, &question, None).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!((world.approvals(run).await.len(), world.mock.counts().billed), (1, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_caps_what_a_run_may_spend() {
    let world = world().await;
    world.on(|_, calls, gateway| async move {
        call(gateway.clone(), Arc::clone(&calls), 0).await.unwrap();
        call(gateway.clone(), Arc::clone(&calls), 1).await.unwrap();
        assert!(call(gateway, calls, 2).await.is_err());
        done(Value::Null)
    });
    let run = world.submit(&policy(&json!({"type": "cap_budget", "max_cost_usd": "0.0005"}))).await;
    assert_eq!(world.ended(run).await, RunStatus::Rejected);
    assert_eq!(world.mock.counts().billed, 2);
}
