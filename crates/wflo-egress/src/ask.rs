//! A host that no rule names: people are asked, and the program's connection is held meanwhile.
//!
//! Owns what is asked about and what holds the connection; who is asked, and for how long an answer holds, is
//! the [`Asker`]'s. An address that is no public host's is never asked about: somebody who has not named it in
//! a rule should not be brought to let a program in there.

use std::fmt;

use wflo_core::ports::BoxFuture;

use crate::address;
use crate::host::{Host, Target};
use crate::request::Forward;
use crate::rules::{Denied, Permit, Rules, Through};
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
}

impl fmt::Display for Question {
    /// The rule that a yes stands for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
}

impl Shared {
    /// How a tunnel to `target` is let through, and whether people have said so; where no rule does, they are
    /// asked.
    pub(crate) async fn let_tunnel(&self, target: &Target) -> Result<(Through, bool), Denied> {
        let judge = |rules: &Rules| rules.tunnel(target).map(|through| (through, false));
        let through = if self.rules().see(target) { Through::Inspected } else { Through::Tls };
        let question = Question { target: target.clone(), way: Way::Tls, request: None };
        self.judged(judge, question, (through, true)).await
    }

    /// Whether a request that can be seen may be sent; where no rule says so, people are asked.
    pub(crate) async fn let_request(&self, asked: &Forward, way: Way) -> Result<Permit, Denied> {
        let Forward { target, method, path, .. } = asked;
        let request = Some(crate::witness::shown(method, path));
        let question = Question { target: target.clone(), way, request };
        let secure = way == Way::Https;
        self.judged(|rules| rules.request(target, secure, method, path), question, Permit::Whole).await
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
        let Some(asker) = self.asker.as_ref().filter(|_| may_be_asked_about(&question.target)) else {
            return Err(open);
        };
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

fn may_be_asked_about(target: &Target) -> bool {
    match &target.host {
        Host::Name(_) => true,
        Host::Address(address) => address::public(*address).is_ok(),
    }
}
