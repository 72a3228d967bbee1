//! Which run, approval or budget is meant: `latest`, an id, or the beginning of one.
//!
//! Owns the look-up. Nothing is made by it: a project without runs gets no data directory.

use wflo_core::approval::{Approval, ApprovalStatus};
use wflo_core::error::{Code, Coded};
use wflo_core::id::ApprovalId;
use wflo_core::ports::clock::Clock as _;
use wflo_core::ports::store::{ApprovalFilter, RunFilter, Store, StoreError};
use wflo_core::run::RunRecord;
use wflo_engine::EngineError;

use crate::cli::{ApprovalRef, RunRef};
use crate::commands::Context;
use crate::commands::approvals::Going;
use crate::failure::CommandError;
use crate::plain;
use crate::session::Session;
use crate::settings::Settings;

/// How many are named where one was meant.
const LISTED: u32 = 20;

/// Why nothing could be picked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PickError {
    #[error("there are no runs in {data_dir} yet")]
    NoRuns { data_dir: String },
    #[error("no approval waits for a decision")]
    NoApprovals { going: Option<Going> },
    #[error("{} approvals wait for a decision: which of them?", waiting.len())]
    WhichApproval { waiting: Vec<(ApprovalId, String)> },
    #[error("you have not been shown what waits for a decision now")]
    Unread { id: ApprovalId, title: String },
    #[error("there is no approval {id}")]
    NoSuchApproval { id: String },
    #[error("no {noun}'s id begins with {prefix}")]
    NothingBegins { noun: &'static str, prefix: String },
    #[error("{count} {noun}s have an id that begins with {prefix}")]
    SeveralBegin { noun: &'static str, prefix: String, count: usize },
}

impl Coded for PickError {
    fn code(&self) -> Code {
        Code(match self {
            PickError::SeveralBegin { .. } | PickError::WhichApproval { .. } | PickError::Unread { .. } => {
                8020
            }
            _ => 2002,
        })
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            PickError::NoRuns { .. } => {
                "start one with `wflo run`; runs of another project are seen from its folder, or with --project"
                    .to_owned()
            }
            PickError::NoApprovals { going: Some(going) } => going.to_string(),
            PickError::NoApprovals { going: None } | PickError::NoSuchApproval { .. } => {
                "`wflo approvals list --all` lists the decided ones, too".to_owned()
            }
            PickError::WhichApproval { waiting } => {
                let mut text = "name the one that you have read:".to_owned();
                for (id, title) in waiting {
                    text.push_str(&format!("\n  {id}  {}", plain::short(title, 80)));
                }
                text
            }
            PickError::Unread { id, title } => format!(
                "read it with `wflo approvals show {id}`, then decide it by that id; it is: {}",
                plain::short(title, 80)
            ),
            PickError::NothingBegins { noun: "budget", .. } => "`wflo budgets list --all` lists them".to_owned(),
            PickError::NothingBegins { noun, .. } => format!("`wflo {noun}s list` lists them"),
            PickError::SeveralBegin { .. } => "give more of the id".to_owned(),
        })
    }
}

/// Opens the project's store, if it has one.
///
/// # Errors
/// Settings and store errors.
pub(crate) fn session<'a>(context: &'a Context<'a>) -> Result<Option<Session<'a>>, CommandError> {
    let settings = context.settings(None)?;
    // A folder that cannot be looked into is not one without runs.
    match settings.storage.try_exists() {
        Ok(true) => Session::open(context, settings).map(Some),
        Ok(false) if !settings.data_dir.exists() || settings.data_dir.is_dir() => Ok(None),
        Ok(false) => Err(no_folder(&settings, &std::io::ErrorKind::NotADirectory.into())),
        Err(error) => Err(no_folder(&settings, &error)),
    }
}

/// Opens the project's store, which must be there.
///
/// # Errors
/// [`PickError::NoRuns`]; settings and store errors.
pub(crate) fn existing<'a>(context: &'a Context<'a>) -> Result<Session<'a>, CommandError> {
    match session(context)? {
        Some(session) => Ok(session),
        None => Err(no_runs(&context.settings(None)?).into()),
    }
}

fn no_folder(settings: &Settings, error: &std::io::Error) -> CommandError {
    StoreError::Failed(format!("{}: {error}", settings.data_dir.display())).into()
}

fn no_runs(settings: &Settings) -> PickError {
    PickError::NoRuns { data_dir: settings.data_dir.display().to_string() }
}

/// The run that is meant.
///
/// # Errors
/// That there is none, or more than one.
pub(crate) async fn run(session: &Session<'_>, which: &RunRef) -> Result<RunRecord, CommandError> {
    let store = &session.store;
    match which {
        RunRef::Id(id) => store.run(*id).await?.ok_or_else(|| CommandError::engine(EngineError::NoRun(*id))),
        RunRef::Latest => {
            let newest = store.runs(RunFilter { limit: 1, ..RunFilter::default() }).await?;
            newest.into_iter().next().ok_or_else(|| no_runs(&session.settings).into())
        }
        RunRef::Prefix(prefix) => {
            let all = store.runs(RunFilter::default()).await?;
            only(all, "run", prefix, |run| run.id.to_string())
        }
    }
}

/// The approval that is meant.
///
/// # Errors
/// That there is none, or more than one.
pub(crate) async fn approval(session: &Session<'_>, which: &ApprovalRef) -> Result<Approval, CommandError> {
    let store = &session.store;
    match which {
        ApprovalRef::Id(id) => {
            let found = store.approval(*id).await?;
            found.ok_or_else(|| PickError::NoSuchApproval { id: id.to_string() }.into())
        }
        ApprovalRef::Latest => {
            let statuses = vec![ApprovalStatus::Pending];
            let newest = store.approvals(ApprovalFilter { statuses, run: None, limit: 1 }).await?;
            match newest.into_iter().next() {
                Some(newest) => Ok(newest),
                None => Err(PickError::NoApprovals { going: Going::find(session).await? }.into()),
            }
        }
        ApprovalRef::Prefix(prefix) => {
            let all = store.approvals(ApprovalFilter::default()).await?;
            only(all, "approval", prefix, |approval| approval.id.to_string())
        }
    }
}

/// The approval that is to be decided. `latest` is one only where no other waits: what a person has read
/// may be older than what a step has asked since.
///
/// # Errors
/// As for [`approval`]; that several wait.
pub(crate) async fn undecided(session: &Session<'_>, which: &ApprovalRef) -> Result<Approval, CommandError> {
    if !matches!(which, ApprovalRef::Latest) {
        return approval(session, which).await;
    }
    let statuses = vec![ApprovalStatus::Pending];
    let waiting = session.store.approvals(ApprovalFilter { statuses, run: None, limit: LISTED }).await?;
    // One whose time is up is in nobody's way, and said to be over where it is the only one.
    let now = session.clock.now();
    let (over, open): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|asked| asked.request.is_over(now));
    let mut found = if open.is_empty() { over } else { open }.into_iter();
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(one), Some(other)) => {
            let all = [one, other].into_iter().chain(found);
            let waiting = all.map(|approval| (approval.id, approval.request.title)).collect();
            Err(PickError::WhichApproval { waiting }.into())
        }
        (None, _) => Err(PickError::NoApprovals { going: Going::find(session).await? }.into()),
    }
}

/// The only one whose id begins so.
///
/// # Errors
/// That there is none, or more than one.
pub(crate) fn only<T>(
    all: Vec<T>,
    noun: &'static str,
    prefix: &str,
    id: impl Fn(&T) -> String,
) -> Result<T, CommandError> {
    let mut found: Vec<T> = all.into_iter().filter(|one| id(one).starts_with(prefix)).collect();
    let prefix = prefix.to_owned();
    match (found.pop(), found.len()) {
        (Some(one), 0) => Ok(one),
        (Some(_), others) => Err(PickError::SeveralBegin { noun, prefix, count: others + 1 }.into()),
        (None, _) => Err(PickError::NothingBegins { noun, prefix }.into()),
    }
}
