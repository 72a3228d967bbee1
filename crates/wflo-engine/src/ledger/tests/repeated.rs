//! Circles that people are asked about: once, whatever crashes, and never about what was answered.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use wflo_gateway::repeats::{OnRepeat, Repeats};

use super::*;

/// The third call that is the same asks, or is refused.
async fn world_where(action: OnRepeat) -> World {
    let mock = ModelServer::start().unwrap();
    mock.answer_always(Answer::billed(10, 100));
    let url = mock.openai_url();
    let repeats = Some(Repeats { same: 3, near: false, action });
    world_with(mock, &url, Routing { repeats, ..Routing::default() }).await
}

/// Calls of one step, as its broker names it.
async fn same_calls(gateway: &Gateway, calls: &Arc<Calls>, these: Range<u32>) -> Result<(), CallError> {
    let Attempt { run, step, generation, .. } = &calls.attempt;
    for seq in these {
        let chat = ChatCall {
            model: "smol".into(),
            request: request().as_object().unwrap().clone(),
            stream: false,
            positional: Some(("0".into(), seq)),
        };
        let caller = Caller::new(&format!("{run}/{step}/{generation}"), Arc::clone(calls));
        gateway.call(caller, chat, None).await?;
    }
    Ok(())
}

async fn asking() -> World {
    world_where(OnRepeat::Ask).await
}

async fn asked(world: &World, run: RunId, many: usize) -> Vec<Approval> {
    until("it asks", || async {
        let all = world.approvals(run).await;
        all.len() == many && all.iter().any(|approval| approval.status == ApprovalStatus::Pending)
    })
    .await;
    let all = world.approvals(run).await;
    all.into_iter().filter(|approval| approval.status == ApprovalStatus::Pending).collect()
}

async fn answer(world: &World, run: RunId, approval: &Approval, approved: bool) {
    let decision = Decision {
        approved,
        by: "me".into(),
        comment: None,
        amount: None,
        lasts: None,
        at: world.clock.now(),
    };
    world.engine.send(run, &Message::Decide { approval: approval.id, decision }).await.unwrap();
}

fn lost() -> End {
    End::Lost { reason: "died".into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_waits_for_a_yes_and_is_counted_anew_after_it() {
    let world = asking().await;
    world.on(|_, calls, gateway| async move {
        same_calls(&gateway, &calls, 0..7).await.unwrap();
        done(Value::Null)
    });
    let run = world.submit(&json!({})).await;
    let first = asked(&world, run, 1).await.remove(0);
    assert_eq!(world.mock.counts().requests, 2, "the third waits");
    assert_eq!(first.request.evidence["times"], 3);
    assert!(first.request.title.contains("3 times: go on?"), "{}", first.request.title);
    answer(&world, run, &first, true).await;
    let second = asked(&world, run, 2).await.remove(0);
    assert_eq!(world.mock.counts().requests, 5, "counts begin anew: the sixth waits");
    answer(&world, run, &second, true).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!((world.mock.counts().billed, world.approvals(run).await.len()), (7, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_rejects_the_run_and_the_call_is_not_made() {
    let world = asking().await;
    world.on(|_, calls, gateway| async move {
        assert!(same_calls(&gateway, &calls, 0..3).await.is_err());
        lost()
    });
    let run = world.submit(&json!({})).await;
    let question = asked(&world, run, 1).await.remove(0);
    answer(&world, run, &question, false).await;
    assert_eq!(world.ended(run).await, RunStatus::Rejected);
    assert_eq!((world.mock.counts().requests, world.money(run).await), (2, (0, 0)));
}

/// A resume replays what the journal holds. Its calls come through the gateway as those of stock clients do, or
/// are answered before it, as those of `context.llm` are: then nothing is counted of them.
async fn resumed(counted: bool, answered_before: bool) {
    let world = asking().await;
    let attempts = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&attempts);
    world.on(move |attempt, calls, gateway| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            if attempt.attempt == 1 {
                let three = same_calls(&gateway, &calls, 0..3);
                if answered_before {
                    three.await.unwrap();
                } else {
                    // It dies while it waits.
                    let asked = || async {
                        !calls.services.store.approvals(ApprovalFilter::default()).await.unwrap().is_empty()
                    };
                    tokio::select! {
                        _ = three => panic!("nobody has answered"),
                        () = until("it asks", asked) => {}
                    }
                }
                return lost();
            }
            let first = match (counted, answered_before) {
                (true, _) => 0,
                (false, true) => 3,
                (false, false) => 2,
            };
            same_calls(&gateway, &calls, first..4).await.unwrap();
            done(Value::Null)
        }
    });
    let run = world.submit(&json!({})).await;
    let question = asked(&world, run, 1).await.remove(0);
    if !answered_before {
        until("it is resumed", || async { attempts.load(Ordering::Relaxed) == 2 }).await;
        assert_eq!(world.mock.counts().requests, 2, "the third still waits");
    }
    answer(&world, run, &question, true).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!((world.mock.counts().billed, world.approvals(run).await.len()), (4, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_resume_replays_is_no_circle() {
    let world = world_where(OnRepeat::Halt).await;
    world.on(|attempt, calls, gateway| async move {
        same_calls(&gateway, &calls, 0..2).await.unwrap();
        if attempt.attempt < 3 { lost() } else { done(Value::Null) }
    });
    let run = world.submit(&json!({})).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!(world.mock.counts().billed, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_was_open_in_a_crash_is_waited_for_and_not_put_again() {
    resumed(true, false).await;
    resumed(false, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_before_a_crash_is_not_asked_again() {
    resumed(true, true).await;
    resumed(false, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_goes_in_circles_puts_one_question_at_a_time() {
    let world = asking().await;
    crowds(&world, 6);
    let run = world.submit(&json!({})).await;
    let since = Instant::now();
    loop {
        let now = world.store.run(run).await.unwrap().unwrap().status;
        if now.is_terminal() {
            assert_eq!(now, RunStatus::Completed);
            break;
        }
        assert!(since.elapsed() < PATIENCE, "it hangs");
        let all = world.approvals(run).await;
        let open: Vec<_> = all.iter().filter(|approval| approval.status == ApprovalStatus::Pending).collect();
        assert!(open.len() <= 1);
        if let [question] = open[..] {
            answer(&world, run, question, true).await;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(world.mock.counts().billed, 6);
}
