//! Answers of people that come while the sandbox of who waits for them is being ended.

use wflo_core::event::Wait;
use wflo_core::id::ApprovalId;

use super::*;
use crate::executor::Decisions;
use crate::waits::Waits;

fn question() -> (On, ApprovalId) {
    (On { path: "0".into(), seq: 0 }, ApprovalId::from_uuid(uuid::Uuid::from_bytes([7; 16])))
}

/// Runs `act` with an attempt, and what tells it that its question is approved.
async fn with_question<F, Fut>(act: F)
where
    F: Fn(Attempt, Arc<Waits>, tokio::sync::watch::Sender<Arc<Decisions>>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let world = world().await;
    world.on(move |attempt, _, _| {
        let (decide, decisions) = tokio::sync::watch::channel(Arc::new(Decisions::new()));
        let acting = act(Attempt { decisions, ..attempt }, Arc::default(), decide);
        async move {
            acting.await;
            done(json!("ok"))
        }
    });
    let run = world.submit(&json!({})).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
}

fn waiting(
    attempt: &Attempt,
    waits: &Arc<Waits>,
) -> tokio::task::JoinHandle<Result<ApprovalStatus, EngineError>> {
    let (attempt, waits, (on, id)) = (attempt.clone(), Arc::clone(waits), question());
    tokio::spawn(async move { waits.decided(&attempt, on, id).await })
}

fn approve(decide: &tokio::sync::watch::Sender<Arc<Decisions>>) {
    decide.send_replace(Arc::new(Decisions::from([(question().1, (ApprovalStatus::Approved, None))])));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_after_a_freeze_is_not_passed_on_and_nothing_is_woken_before_the_end() {
    with_question(|attempt, waits, decide| async move {
        let waiter = waiting(&attempt, &waits);
        let (on, id) = question();
        let on = [on];
        until("it waits", || async { waits.of(&on).is_some() }).await;
        assert_eq!(waits.of(&on), Some(vec![Wait::Approval { approval_id: id }]));
        assert!(waits.freeze_while_waiting(&on));
        approve(&decide);
        until("it has seen the answer", || async { waits.of(&on).is_none() }).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiter.is_finished(), "what it asked for is being ended");
        waits.close();
        assert!(matches!(waiter.await.unwrap(), Err(EngineError::ShuttingDown)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_came_before_is_passed_on_and_nothing_freezes() {
    with_question(|attempt, waits, decide| async move {
        let waiter = waiting(&attempt, &waits);
        let on = [question().0];
        until("it waits", || async { waits.of(&on).is_some() }).await;
        assert!(!waits.freeze_while_all(2), "only one of two effects waits");
        approve(&decide);
        assert_eq!(waiter.await.unwrap().unwrap(), ApprovalStatus::Approved);
        assert!(!waits.freeze_while_waiting(&on));
    })
    .await;
}

/// Each answer is passed on, or the attempt is frozen: never both, never neither.
#[tokio::test(flavor = "multi_thread")]
async fn of_an_answer_and_a_freeze_at_the_same_moment_one_wins() {
    with_question(|attempt, waits, decide| async move {
        drop((waits, decide));
        for round in 0..200_u32 {
            let waits = Arc::<Waits>::default();
            let (decide, decisions) = tokio::sync::watch::channel(Arc::new(Decisions::new()));
            let waiter = waiting(&Attempt { decisions, ..attempt.clone() }, &waits);
            let on = [question().0];
            until("it waits", || async { waits.of(&on).is_some() }).await;
            let answering = tokio::spawn(async move {
                for _ in 0..round % 4 {
                    tokio::task::yield_now().await;
                }
                approve(&decide);
                decide
            });
            let frozen = waits.freeze_while_waiting(&on);
            let decide = answering.await.unwrap();
            waits.close();
            match waiter.await.unwrap() {
                Ok(status) => assert!(!frozen && status == ApprovalStatus::Approved),
                Err(_) => assert!(frozen),
            }
            drop(decide);
        }
    })
    .await;
}
