//! Approvals.

use serde_json::json;
use wflo_core::approval::{Approval, ApprovalRequest, ApprovalStatus, Binding, Decision, OnTimeout, Purpose};
use wflo_core::budget::Measure;
use wflo_core::canonical::Digest;
use wflo_core::id::{ApprovalId, RunId};
use wflo_core::ports::store::{ApprovalFilter, Op, StoreError};

use super::ground::*;

pub fn question(run: RunId, purpose: Purpose) -> Approval {
    Approval {
        id: approval_id(),
        run,
        request: ApprovalRequest {
            purpose,
            step: Some("triage".to_owned()),
            generation: 1,
            title: "Delete 3 rows?".to_owned(),
            evidence: json!({"rows": [[1], [2], [3]]}),
            binding: Binding {
                action: Digest::of_bytes(b"action"),
                code: Digest::of_bytes(b"code"),
                evidence: Digest::of_bytes(b"evidence"),
            },
            approvers: vec!["ops-team".to_owned()],
            quorum: 1,
            expires_at: Some(at(100)),
            on_timeout: OnTimeout::Escalate,
            notify: vec!["slack://prod".to_owned()],
        },
        status: ApprovalStatus::Pending,
        decision: None,
        requested_at: at(1),
        consumed_at: None,
    }
}

fn answer() -> Decision {
    Decision {
        approved: true,
        by: "local:ann".to_owned(),
        comment: Some("fine".to_owned()),
        amount: Some(usd("5")),
        lasts: None,
        at: at(3),
    }
}

fn decide(id: ApprovalId, status: ApprovalStatus) -> Op {
    Op::DecideApproval { id, status, decision: answer() }
}

pub async fn a_question_is_decided_once(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let asked = question(run.id, Purpose::Write { effect: key("0", 3) });
    commit(&*store, vec![Op::PutApproval(Box::new(asked.clone()))]).await.unwrap();
    assert_eq!(store.approval(asked.id).await.unwrap().as_ref(), Some(&asked));
    assert!(commit(&*store, vec![Op::PutApproval(Box::new(asked.clone()))]).await.is_err());
    assert!(commit(&*store, vec![decide(asked.id, ApprovalStatus::Consumed)]).await.is_err());
    commit(&*store, vec![decide(asked.id, ApprovalStatus::Approved)]).await.unwrap();
    let decided = Approval { status: ApprovalStatus::Approved, decision: Some(answer()), ..asked.clone() };
    assert_eq!(store.approval(asked.id).await.unwrap(), Some(decided));
    let late = commit(&*store, vec![decide(asked.id, ApprovalStatus::Rejected)]).await.unwrap_err();
    assert_eq!(late, StoreError::AlreadyDecided { id: asked.id, status: ApprovalStatus::Approved });
    let unknown = commit(&*store, vec![decide(approval_id(), ApprovalStatus::Approved)]).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { noun: "approval", .. })));
    assert_eq!(store.approval(approval_id()).await.unwrap(), None);
}

pub async fn an_approval_is_used_once(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let asked = question(
        run.id,
        Purpose::Budget {
            budget: budget_id(),
            measure: Measure::Cost,
            missing: usd("0.50"),
            suggested: None,
        },
    );
    let consume = || Op::ConsumeApproval { id: asked.id, at: at(4) };
    commit(&*store, vec![Op::PutApproval(Box::new(asked.clone()))]).await.unwrap();
    let early = commit(&*store, vec![consume()]).await.unwrap_err();
    assert_eq!(early, StoreError::NotApproved { id: asked.id, status: ApprovalStatus::Pending });
    commit(&*store, vec![decide(asked.id, ApprovalStatus::Approved), consume()]).await.unwrap();
    let read = store.approval(asked.id).await.unwrap().unwrap();
    assert_eq!(
        (read.status, read.consumed_at, read.request),
        (ApprovalStatus::Consumed, Some(at(4)), asked.request.clone())
    );
    let again = commit(&*store, vec![consume()]).await.unwrap_err();
    assert_eq!(again, StoreError::NotApproved { id: asked.id, status: ApprovalStatus::Consumed });
    let replaced = commit(&*store, vec![Op::SupersedeApproval { id: asked.id }]).await.unwrap_err();
    assert_eq!(replaced, StoreError::AlreadyDecided { id: asked.id, status: ApprovalStatus::Consumed });
}

pub async fn approvals_are_listed_and_filtered(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let (_, other) = accepted(fixture).await;
    let asked = [
        question(run.id, Purpose::Gate),
        question(other.id, Purpose::Apply),
        question(run.id, Purpose::Start),
    ];
    let ops = asked.iter().map(|approval| Op::PutApproval(Box::new(approval.clone()))).collect();
    commit(&*store, ops).await.unwrap();
    commit(&*store, vec![Op::SupersedeApproval { id: asked[2].id }]).await.unwrap();
    let list = async |filter| -> Vec<ApprovalId> {
        store.approvals(filter).await.unwrap().into_iter().map(|approval| approval.id).collect()
    };
    let ids = [asked[0].id, asked[1].id, asked[2].id];
    assert_eq!(list(ApprovalFilter::default()).await, [ids[2], ids[1], ids[0]]);
    assert_eq!(list(ApprovalFilter { limit: 1, ..ApprovalFilter::default() }).await, [ids[2]]);
    let of_run = ApprovalFilter { run: Some(run.id), ..ApprovalFilter::default() };
    assert_eq!(list(of_run).await, [ids[2], ids[0]]);
    let pending = ApprovalFilter { statuses: vec![ApprovalStatus::Pending], ..ApprovalFilter::default() };
    assert_eq!(list(pending).await, [ids[1], ids[0]]);
    let superseded = ApprovalFilter {
        statuses: vec![ApprovalStatus::Superseded, ApprovalStatus::Consumed],
        ..ApprovalFilter::default()
    };
    assert_eq!(list(superseded).await, [ids[2]]);
}

pub async fn questions_are_found_by_what_they_are_about(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let (_, other) = accepted(fixture).await;
    let budget = budget_id();
    let purposes = [
        Purpose::Gate,
        Purpose::Start,
        Purpose::Output,
        Purpose::Apply,
        Purpose::Write { effect: key("0", 3) },
        Purpose::Write { effect: key("0", 4) },
        Purpose::Asked { effect: key("0", 3) },
        Purpose::Budget { budget, measure: Measure::Cost, missing: usd("0.50"), suggested: None },
        Purpose::Budget {
            budget: budget_id(),
            measure: Measure::Cost,
            missing: usd("0.50"),
            suggested: None,
        },
        Purpose::Policy { policy: "high".to_owned() },
        Purpose::Policy { policy: "gate".to_owned() },
    ];
    let mut asked: Vec<Approval> = purposes.iter().map(|purpose| question(run.id, purpose.clone())).collect();
    // The same thing once more, and in another run.
    asked.push(question(
        run.id,
        Purpose::Budget { budget, measure: Measure::Cost, missing: usd("2"), suggested: None },
    ));
    asked.push(question(other.id, Purpose::Gate));
    let ops = asked.iter().map(|approval| Op::PutApproval(Box::new(approval.clone()))).collect();
    commit(&*store, ops).await.unwrap();
    for (n, purpose) in purposes.iter().enumerate() {
        let found = store.approvals_about(run.id, purpose.clone()).await.unwrap();
        let wanted = if n == 7 { vec![asked[11].clone(), asked[7].clone()] } else { vec![asked[n].clone()] };
        assert_eq!(found, wanted);
    }
    assert_eq!(store.approvals_about(run_id(), Purpose::Gate).await.unwrap(), []);
}
