//! What people are asked.

use jiff::SignedDuration;
use wflo_core::approval::{ApprovalStatus, Decision, Lasts, OnTimeout, Purpose};
use wflo_core::budget::Measure;
use wflo_core::effect::EffectKey;
use wflo_core::event::Event;
use wflo_core::id::BudgetId;
use wflo_core::machine::{CommandBody, HostChange, Rejection, TimerKey};
use wflo_core::money::NanoUsd;

use crate::driver::{Driver, ask, diamond, failure, succeed};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn question(step: &str, purpose: Purpose) -> CommandBody {
    let CommandBody::Ask { mut request } = ask(step) else { unreachable!() };
    request.purpose = purpose;
    CommandBody::Ask { request }
}

fn decide(driver: &mut Driver, approved: bool) -> Result<Vec<Event>, wflo_core::machine::Rejection> {
    let asked = |a: &wflo_core::machine::ApprovalState| a.request.purpose != Purpose::Gate;
    let approval = *driver.state.approvals.iter().rfind(|(_, a)| asked(a)).unwrap().0;
    let decision = Decision {
        approved,
        by: "local:me".into(),
        comment: None,
        amount: None,
        lasts: None,
        at: driver.now,
    };
    driver.tell(CommandBody::ApprovalDecided { approval, decision })
}

#[test]
fn a_question_whose_generation_is_over_is_taken_back() {
    let mut driver = Driver::new(&diamond());
    succeed(&mut driver, "a");
    driver.tell(CommandBody::StepStarted { step: "b".into(), epoch: 1 }).unwrap();
    driver.tell(ask("b")).unwrap();
    let attempt = driver.attempt("b");
    let failed = CommandBody::StepFailed {
        step: "b".into(),
        attempt,
        error: failure(),
        timed_out: false,
        no_retry: None,
        left: None,
    };
    driver.tell(failed).unwrap();
    let asked =
        driver.state.approvals.values().filter(|a| matches!(a.request.purpose, Purpose::Write { .. }));
    assert!(asked.into_iter().all(|a| a.status == ApprovalStatus::Superseded));
    assert!(decide(&mut driver, false).is_err(), "a late no ends nothing");
    assert!(!driver.state.status.is_terminal() && driver.state.ending.is_none());
}

#[test]
fn questions_of_the_run_are_put_once() {
    let mut driver = Driver::new(&diamond());
    driver.tell(CommandBody::StepStarted { step: "a".into(), epoch: 1 }).unwrap();
    let budget = BudgetId::from_uuid(uuid::Uuid::from_u128(7));
    let top_up = || {
        question(
            "a",
            Purpose::Budget {
                budget,
                measure: Measure::Cost,
                missing: NanoUsd::from_nanos(1),
                suggested: None,
            },
        )
    };
    driver.tell(top_up()).unwrap();
    let first = *driver.state.approvals.keys().next().unwrap();
    assert_eq!(driver.tell(top_up()).unwrap_err(), wflo_core::machine::Rejection::AskedAlready(first));
    decide(&mut driver, true).unwrap();
    driver.tell(top_up()).expect("an answered question about a budget may be put again");
    let policy = || question("a", Purpose::Policy { policy: "dear".into() });
    driver.tell(policy()).unwrap();
    assert!(driver.tell(policy()).is_err());
}

#[test]
fn what_is_said_of_a_host_holds_as_long_as_is_said_and_ends_nothing() {
    let mut driver = Driver::new(&diamond());
    driver.tell(CommandBody::StepStarted { step: "a".into(), epoch: 1 }).unwrap();
    let host = |name: &str| question("a", Purpose::Host { rule: format!("https://{name}") });
    let said = |driver: &mut Driver, approved, lasts, by: &str| {
        let open = driver.state.approvals.iter().find(|(_, a)| a.status == ApprovalStatus::Pending);
        let approval = *open.unwrap().0;
        let decision =
            Decision { approved, by: by.into(), comment: None, amount: None, lasts, at: driver.now };
        driver.tell(CommandBody::ApprovalDecided { approval, decision }).unwrap();
    };
    driver.tell(host("once")).unwrap();
    assert!(matches!(driver.tell(host("once")), Err(Rejection::AskedAlready(_))), "one question at a time");
    said(&mut driver, true, Some(Lasts::Once), "local:me");
    assert!(driver.state.hosts.is_empty());
    driver.tell(host("once")).expect("once is over");
    said(&mut driver, false, None, "timeout");
    assert!(driver.state.hosts.is_empty(), "whoever was not there has said nothing");
    driver.tell(host("run")).unwrap();
    said(&mut driver, true, None, "local:me");
    driver.tell(host("never")).unwrap();
    said(&mut driver, false, Some(Lasts::Always), "local:me");
    let change =
        |name: &str, allowed, is_answer| HostChange { rule: format!("https://{name}"), allowed, is_answer };
    assert_eq!(driver.state.hosts, [change("run", true, true), change("never", false, true)]);
    // What is said later of the same host replaces it, and is the last word.
    let deny = CommandBody::ChangeHost { rule: "https://run".into(), allowed: false, by: "local:me".into() };
    driver.tell(deny).unwrap();
    assert_eq!(driver.state.hosts, [change("never", false, true), change("run", false, false)]);
    // What was let in unasked is more than a yes to a question, and stays it.
    let allow = CommandBody::ChangeHost { rule: "https://both".into(), allowed: true, by: "local:me".into() };
    driver.tell(allow).unwrap();
    driver.tell(host("both")).unwrap();
    said(&mut driver, true, None, "local:me");
    assert_eq!(driver.state.hosts.last(), Some(&change("both", true, false)));
    assert!(
        !driver.state.status.is_terminal() && driver.state.ending.is_none(),
        "a no is the program's to hear"
    );
}

#[test]
fn a_budgets_question_that_nobody_answers_in_time_ends_nothing_and_the_first_word_counts() {
    for (yes_first, status) in [(false, ApprovalStatus::Expired), (true, ApprovalStatus::Approved)] {
        let mut driver = Driver::new(&diamond());
        driver.tell(CommandBody::StepStarted { step: "a".into(), epoch: 1 }).unwrap();
        let (budget, missing) = (BudgetId::from_uuid(uuid::Uuid::from_u128(7)), NanoUsd::from_nanos(1));
        let purpose = Purpose::Budget { budget, measure: Measure::Cost, missing, suggested: None };
        let CommandBody::Ask { mut request } = question("a", purpose) else { unreachable!() };
        request.expires_at = Some(driver.now + HOUR);
        driver.tell(CommandBody::Ask { request }).unwrap();
        let approval = *driver.state.approvals.keys().next().unwrap();
        let timer = CommandBody::TimerFired { timer: TimerKey::Approval { approval } };
        if yes_first {
            decide(&mut driver, true).unwrap();
            assert!(driver.tell(timer).is_err(), "it was answered");
        } else {
            driver.tell(timer).unwrap();
            let late = CommandBody::ApprovalDecided {
                approval,
                decision: Decision {
                    approved: true,
                    by: "local:me".into(),
                    comment: None,
                    amount: None,
                    lasts: None,
                    at: driver.now,
                },
            };
            assert!(matches!(driver.tell(late), Err(Rejection::NotPending(_))), "too late raises nothing");
        }
        assert_eq!(driver.state.approvals[&approval].status, status);
        assert!(!driver.state.status.is_terminal() && driver.state.ending.is_none(), "the run goes on");
    }
}

#[test]
fn a_word_after_a_questions_time_counts_as_none_and_one_before_it_counts_whenever_it_is_read() {
    for (then, said, status) in [
        (OnTimeout::Reject, -1, ApprovalStatus::Approved),
        (OnTimeout::Reject, 0, ApprovalStatus::Expired),
        (OnTimeout::Reject, 60, ApprovalStatus::Expired),
        (OnTimeout::Hold, 60, ApprovalStatus::Approved),
        (OnTimeout::Escalate, 60, ApprovalStatus::Approved),
    ] {
        let mut driver = Driver::new(&diamond());
        driver.tell(CommandBody::StepStarted { step: "a".into(), epoch: 1 }).unwrap();
        let until = driver.now + HOUR;
        let purpose = Purpose::Asked {
            effect: EffectKey { step: "a".into(), generation: 1, path: "0".into(), seq: 0 },
        };
        let CommandBody::Ask { mut request } = question("a", purpose) else { unreachable!() };
        (request.expires_at, request.on_timeout) = (Some(until), then);
        driver.tell(CommandBody::Ask { request }).unwrap();
        let approval = *driver.state.approvals.keys().next().unwrap();
        let decision = Decision {
            approved: true,
            by: "local:me".into(),
            comment: None,
            amount: None,
            lasts: None,
            at: until + SignedDuration::from_secs(said),
        };
        // Nobody drove the run meanwhile.
        driver.now = until + HOUR;
        driver.tell(CommandBody::ApprovalDecided { approval, decision }).unwrap();
        assert_eq!(driver.state.approvals[&approval].status, status, "{then:?}, said {said} s after it");
    }
}
