//! A host that no rule names, and what a rule says people are asked about: they are, and the program's connection is
//! held meanwhile.
//!
//! Owns what is asked about and what holds the connection; who is asked, and for how long an answer holds, is
//! the [`Asker`]'s. An address that is no public host's is never asked about: somebody who has not named it in
//! a rule should not be brought to let a program in there.

use std::fmt;

use wflo_core::ports::BoxFuture;

use crate::address;
use crate::host::{Host, Target};
use crate::request::Forward;
use crate::rules::{Denied, Permit, Rule, Rules, Through};
use crate::serve::Shared;
use crate::witness::Way;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Where to.
    pub target: Target,
    /// How.
    pub way: Way,
    /// Method and path of a request that can be seen.
    pub request: Option<String>,
    /// What is asked about because a rule says so, and what a yes stands for.
    pub rule: Option<Rule>,
}

impl fmt::Display for Question {
    /// The rule that a yes stands for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(rule) = &self.rule {
            return rule.fmt(f);
        }
        let Target { host, port } = &self.target;
        match (self.way, port) {
            (Way::Http, 80) => write!(f, "http://{host}"),
            (Way::Http, _) => write!(f, "http://{host}:{port}"),
            (_, 443) => write!(f, "https://{host}"),
            _ => write!(f, "https://{host}:{port}"),
        }
    }
}

/// What people say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It may be reached.
    Yes,
    /// It may not.
    No,
    /// Nobody has said anything in time, or nobody can be asked.
    Nothing,
}

/// Who asks people.
pub trait Asker: Send + Sync + 'static {
    /// Resolves with what they say, within a deadline of its own. The same question may be put many times at
    /// once, as often as a hostile program likes.
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer>;

    /// Whether it asks about hosts that no rule names; else it asks about those alone that a rule says are asked
    /// about.
    fn asks_about_unknown(&self) -> bool {
        true
    }
}

impl Shared {
    /// How a tunnel to `target` is let through, and whether people have said so; where no rule does, they are
    /// asked.
    pub(crate) async fn let_tunnel(&self, target: &Target) -> Result<(Through, bool), Denied> {
        let about = |rule| Question { target: target.clone(), way: Way::Tls, request: None, rule };
        let before = |rules: &Rules, answered: &[Rule]| rules.before_tunnel(target, answered);
        if self.settle(before, |rule| about(Some(rule))).await? {
            let rules = self.rules();
            return Ok((rules.said_through(target), rules.ruled_through(target).is_err()));
        }
        let judge = |rules: &Rules| rules.allowed_through(target).map(|through| (through, false));
        let through = if self.rules().see(target) { Through::Inspected } else { Through::Tls };
        let question = about(None);
        self.judged(judge, question, (through, true)).await
    }

    /// Whether a request that can be seen may be sent; where no rule says so, people are asked.
    pub(crate) async fn let_request(&self, asked: &Forward, way: Way) -> Result<Permit, Denied> {
        let Forward { target, method, path, .. } = asked;
        let secure = way == Way::Https;
        let judge = |rules: &Rules| rules.allowed_request(target, secure, method, path);
        if self.settle_request(asked, way).await? {
            return Ok(judge(&self.rules()).unwrap_or(Permit::Whole));
        }
        self.judged(judge, question(asked, way, None), Permit::Whole).await
    }

    /// Waits until people have said yes to what a rule says of this request; whether they had to be asked.
    pub(crate) async fn settle_request(&self, asked: &Forward, way: Way) -> Result<bool, Denied> {
        let Forward { target, method, path, .. } = asked;
        let before = |rules: &Rules, answered: &[Rule]| {
            rules.before_request((target, way == Way::Https), (method, path), answered)
        };
        self.settle(before, |rule| question(asked, way, Some(rule))).await
    }

    /// Waits until nothing stands before it that people are asked about; whether they have said yes to this very
    /// connection.
    async fn settle(
        &self,
        before: impl Fn(&Rules, &[Rule]) -> Result<Option<Rule>, Denied>,
        question: impl Fn(Rule) -> Question,
    ) -> Result<bool, Denied> {
        let mut answered = Vec::new();
        loop {
            let Some(rule) = before(&self.rules(), &answered)? else { return Ok(!answered.is_empty()) };
            let Some(asker) = self.asker.as_ref() else { return Err(Denied::Asked) };
            let question = question(rule.clone());
            let mut rules = self.rules.clone();
            let changed = async {
                let decided =
                    |rules: &std::sync::Arc<Rules>| before(rules, &answered) != Ok(Some(rule.clone()));
                if rules.wait_for(decided).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let answer = tokio::select! {
                answer = asker.ask(&question) => answer,
                // Somebody has said so without being asked.
                () = changed => continue,
            };
            match answer {
                Answer::Yes => answered.push(rule),
                Answer::No => return Err(Denied::Said),
                Answer::Nothing => return Err(Denied::Unanswered),
            }
        }
    }

    async fn judged<T>(
        &self,
        judge: impl Fn(&Rules) -> Result<T, Denied>,
        question: Question,
        yes: T,
    ) -> Result<T, Denied> {
        let open = match judge(&self.rules()) {
            Err(why @ (Denied::Host | Denied::Port)) => why,
            judged => return judged,
        };
        let asker = self.asker.as_ref().filter(|asker| asker.asks_about_unknown());
        let Some(asker) = asker.filter(|_| may_be_asked_about(&question.target)) else { return Err(open) };
        let mut rules = self.rules.clone();
        let changed = async {
            let decided =
                |rules: &std::sync::Arc<Rules>| !matches!(judge(rules), Err(Denied::Host | Denied::Port));
            if rules.wait_for(decided).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let answer = tokio::select! {
            answer = asker.ask(&question) => answer,
            // Somebody has said so without being asked.
            () = changed => return judge(&self.rules()),
        };
        match answer {
            Answer::Yes if self.rules().keep_out(&question.target) => Err(Denied::Said),
            Answer::Yes => Ok(yes),
            Answer::No => Err(Denied::Said),
            Answer::Nothing => Err(Denied::Unanswered),
        }
    }
}

fn question(asked: &Forward, way: Way, rule: Option<Rule>) -> Question {
    let request = Some(crate::witness::shown(&asked.method, &asked.path));
    Question { target: asked.target.clone(), way, request, rule }
}

fn may_be_asked_about(target: &Target) -> bool {
    match &target.host {
        Host::Name(_) => true,
        Host::Address(address) => address::public(*address).is_ok(),
    }
}
