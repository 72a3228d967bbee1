//! A host that no rule names, and what a rule says people are asked about: they are, and the program's connection is
//! held meanwhile.
//!
//! Owns what is asked about and what holds the connection; who is asked, and for how long an answer holds, is
//! the [`Asker`]'s. An address that is no public host's is never asked about: somebody who has not named it in
//! a rule should not be brought to let a program in there.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

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
        self.stands_for().fmt(f)
    }
}

impl Question {
    /// The rule that a yes stands for.
    fn stands_for(&self) -> Rule {
        match (&self.rule, self.way) {
            (Some(rule), _) => rule.clone(),
            (None, Way::Http) => Rule::at("http", &self.target, 80),
            (None, _) => Rule::at("https", &self.target, 443),
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

/// So many hosts a program may ask about.
pub const MOST: usize = 50;

/// What a program has asked about: none makes people read without end.
#[derive(Debug, Default)]
pub struct Asked {
    asked: Mutex<BTreeSet<String>>,
    /// A question has run out of time: nobody is there.
    unattended: AtomicBool,
}

impl Asked {
    /// Whether a question about this rule may be put.
    pub fn may_ask(&self, rule: &str) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = asked.len() < MOST || asked.contains(rule);
        if fits {
            asked.insert(rule.to_owned());
        }
        fits && !self.unattended.load(Ordering::Relaxed)
    }

    /// A question has run out of time. None is put any more.
    pub fn nobody_answers(&self) {
        self.unattended.store(true, Ordering::Relaxed);
    }
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
    /// How a tunnel to `target` is let through, and the questions to which people have said yes for this very
    /// connection; where no rule lets it through, they are asked.
    pub(crate) async fn let_tunnel(&self, target: &Target) -> Result<(Through, Vec<Rule>), Denied> {
        let about = |rule| Question { target: target.clone(), way: Way::Tls, request: None, rule };
        let before = |rules: &Rules, answered: &[Rule]| rules.before_tunnel(target, answered);
        let mut answered = self.settle(before, |rule| about(Some(rule)), Vec::new()).await?;
        let judge = |rules: &Rules| rules.allowed_through(target);
        let through = self.judged(judge, about(None), &mut answered).await?;
        Ok((through, answered))
    }

    /// Whether a request that can be seen may be sent; where no rule says so, people are asked. `answered` are the
    /// questions to which they have said yes for its connection.
    pub(crate) async fn let_request(
        &self,
        asked: &Forward,
        way: Way,
        answered: &[Rule],
    ) -> Result<Permit, Denied> {
        let Forward { target, method, path, .. } = asked;
        let secure = way == Way::Https;
        let before = |rules: &Rules, answered: &[Rule]| {
            rules.before_request((target, secure), (method, path), answered)
        };
        let question = |rule| question(asked, way, rule);
        let mut answered = self.settle(before, |rule| question(Some(rule)), answered.to_vec()).await?;
        let judge = |rules: &Rules| rules.allowed_request(target, secure, method, path);
        self.judged(judge, question(None), &mut answered).await
    }

    /// Waits until nothing stands before it that people are asked about; the questions to which they have said yes for
    /// this very connection, with those of `answered`.
    async fn settle(
        &self,
        before: impl Fn(&Rules, &[Rule]) -> Result<Option<Rule>, Denied>,
        question: impl Fn(Rule) -> Question,
        mut answered: Vec<Rule>,
    ) -> Result<Vec<Rule>, Denied> {
        loop {
            let Some(rule) = before(&self.rules(), &answered)? else { return Ok(answered) };
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

    /// What the rules say with these answers; where none of them names the host, people are asked, and their yes is
    /// one of the answers.
    async fn judged<T>(
        &self,
        judge: impl Fn(&Rules) -> Result<T, Denied>,
        question: Question,
        answered: &mut Vec<Rule>,
    ) -> Result<T, Denied> {
        let open = match judge(&self.rules().answered(answered)) {
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
            () = changed => return judge(&self.rules().answered(answered)),
        };
        match answer {
            Answer::Yes => {
                answered.push(question.stands_for());
                judge(&self.rules().answered(answered))
            }
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
