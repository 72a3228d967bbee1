//! Programs whose calls do not fit, where people are asked and nobody answers: the call is refused, and the program
//! lives on.

use wflo_core::size::Millis;

use super::*;

/// A run of one program whose budget asks, and whose calls are held for so long.
fn program(limit: &Value, held: Millis) -> (Value, RunOptions) {
    let mut json = limit.clone();
    json["steps"] = json!([{"name": "s", "type": "program", "argv": ["agent"], "depends_on": []}]);
    (json, RunOptions { budget_timeout: Some(held), ..RunOptions::default() })
}

fn none() -> Value {
    budget(0, "ask")
}

/// What became of a call.
fn said(reply: Result<ChatReply, CallError>) -> &'static str {
    match reply {
        Ok(_) => "answered",
        Err(CallError::Gateway(GatewayError::BudgetExceeded { unanswered: Some(_), .. })) => "unanswered",
        Err(CallError::Gateway(GatewayError::BudgetExceeded { unanswered: None, .. })) => "refused",
        Err(_) => "ended",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_programs_call_is_refused_once_its_time_is_up_and_the_program_lives_on() {
    let world = world().await;
    world.on(|_, calls, gateway| async move {
        let mut answers = Vec::new();
        for seq in 0..2 {
            let reply = call(gateway.clone(), Arc::clone(&calls), seq).await;
            if let Err(CallError::Gateway(error)) = &reply {
                assert_eq!((error.status().as_u16(), error.code()), (402, Code(4001)), "{error}");
                assert!(error.to_string().contains("nobody answered within 50ms"), "{error}");
            }
            answers.push(said(reply));
        }
        done(json!(answers))
    });
    let run = world.submit_with(&program(&none(), Millis(50))).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    let outputs = world.store.run(run).await.unwrap().unwrap().outputs.unwrap();
    assert_eq!(outputs["s"], json!(["unanswered", "unanswered"]));
    // Each call asks anew: whoever comes back finds a question that can be answered.
    let questions = world.approvals(run).await;
    assert!(questions.iter().all(|asked| asked.status == ApprovalStatus::Expired), "{questions:?}");
    assert_eq!(questions.len(), 2);
    assert_eq!(world.mock.counts().billed, 0);
    assert_eq!((world.money(run).await, world.store.overruns().await.unwrap()), ((0, 0), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_after_the_deadline_of_one_call_is_for_the_next() {
    let world = world().await;
    world.on(|_, calls, gateway| async move {
        let first = said(call(gateway.clone(), Arc::clone(&calls), 0).await);
        let second = said(call(gateway, calls, 1).await);
        done(json!([first, second]))
    });
    let run = world.submit_with(&program(&none(), Millis(1_000))).await;
    let open =
        || async { world.approvals(run).await.into_iter().find(|a| a.status == ApprovalStatus::Pending) };
    until("the first is asked about", || async { open().await.is_some() }).await;
    let first = open().await.unwrap();
    until("it runs out", || async { world.approvals(run).await.len() == 2 }).await;
    // Too late for the first: nothing is raised by it.
    world.decide(run, &first, Some(9 * EACH)).await;
    let second = open().await.unwrap();
    world.decide(run, &second, Some(2 * EACH)).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    let outputs = world.store.run(run).await.unwrap().unwrap().outputs.unwrap();
    assert_eq!(outputs["s"], json!(["unanswered", "answered"]));
    let budgets = world.store.budgets(vec![run.to_string()]).await.unwrap();
    assert_eq!(budgets[0].limit.units(), MARGIN + 2 * EACH, "the late answer has raised nothing");
    assert_eq!(world.money(run).await, (EACH, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_ends_the_run_as_before() {
    let world = world().await;
    world.on(|_, calls, gateway| async move {
        let _ = call(gateway, calls, 0).await;
        done(Value::Null)
    });
    let run = world.submit_with(&program(&none(), Millis(60_000))).await;
    until("it asks", || async { world.approvals(run).await.len() == 1 }).await;
    let question = world.approvals(run).await.remove(0);
    let decision = Decision {
        approved: false,
        by: "local:me".into(),
        comment: None,
        amount: None,
        lasts: None,
        at: world.clock.now(),
    };
    world.engine.send(run, &Message::Decide { approval: question.id, decision }).await.unwrap();
    assert_eq!(world.ended(run).await, RunStatus::Halted);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workflows_own_code_waits_for_as_long_as_it_takes() {
    let world = world().await;
    world.on(|attempt, calls, gateway| async move {
        if attempt.step == "program" {
            return done(json!(said(call(gateway, calls, 0).await)));
        }
        // Behind the program's question, which is the same one.
        let asked = || async { !attempt.decisions.borrow().is_empty() };
        until("the program has asked", asked).await;
        done(json!(said(call(gateway, calls, 0).await)))
    });
    let mut limits = none();
    limits["steps"] = json!([
        {"name": "program", "type": "tool", "run": ["agent"], "depends_on": []},
        {"name": "code", "type": "agent", "handler": "code", "depends_on": []},
    ]);
    let options = RunOptions { budget_timeout: Some(Millis(300)), ..RunOptions::default() };
    let run = world.submit_with(&(limits, options)).await;
    let lasting = || async {
        let all = world.approvals(run).await;
        all.into_iter()
            .find(|asked| asked.status == ApprovalStatus::Pending && asked.request.expires_at.is_none())
    };
    until("the code asks for itself", || async { lasting().await.is_some() }).await;
    let question = lasting().await.unwrap();
    world.decide(run, &question, Some(2 * EACH)).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    let outputs = world.store.run(run).await.unwrap().unwrap().outputs.unwrap();
    assert_eq!(outputs, json!({"program": "unanswered", "code": "answered"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_waits_for_its_own_time_where_the_workflow_has_asked_first() {
    let world = world().await;
    world.on(|attempt, calls, gateway| async move {
        if attempt.step == "program" {
            until("the code has asked", || async { !attempt.decisions.borrow().is_empty() }).await;
        }
        done(json!(said(call(gateway, calls, 0).await)))
    });
    let mut limits = none();
    limits["steps"] = json!([
        {"name": "program", "type": "tool", "run": ["agent"], "depends_on": []},
        {"name": "code", "type": "agent", "handler": "code", "depends_on": []},
    ]);
    let options = RunOptions { budget_timeout: Some(Millis(50)), ..RunOptions::default() };
    let run = world.submit_with(&(limits, options)).await;
    let over = || async {
        let events = world.store.events(run, 0, 0).await.unwrap();
        events
            .iter()
            .any(|e| matches!(&e.event.body, EventBody::StepSucceeded { step, .. } if step == "program"))
    };
    until("the program is over", over).await;
    let [question] = &world.approvals(run).await[..] else { panic!("one question") };
    assert_eq!((question.status, question.request.expires_at), (ApprovalStatus::Pending, None));
    world.decide(run, question, Some(2 * EACH)).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
}
