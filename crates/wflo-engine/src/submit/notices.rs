//! What is said of a run at its submission: what its steps could trip over, and what they stand on.

use std::path::PathBuf;

use wflo_core::event::EventBody;
use wflo_sandbox::workspace::{RelPath, Sealed};

use super::listed;
use crate::images::{Installed, System};
use crate::launch::{Backend, Launch};

/// So many files are named.
const NAMED: usize = 4;

/// What was found on the way.
pub(super) struct Found<'a> {
    /// Inputs that nothing reads.
    pub(super) unread: Option<String>,
    /// Folders that packages of the interpreter point at, and steps do not see.
    pub(super) not_shown: &'a [PathBuf],
    /// What of the project's files is worth a word.
    pub(super) sealed: &'a Sealed,
}

/// Each notice, in the order in which they are recorded.
pub(super) fn notices(launch: &Launch, installed: &Installed, found: Found<'_>) -> Vec<EventBody> {
    let elsewhere = (!found.not_shown.is_empty() && launch.backend == Backend::Native).then(|| {
        format!(
            "packages of the interpreter point at folders that steps do not see: {}; name them under `ro` in \
             [sandbox] to show them",
            listed(found.not_shown)
        )
    });
    let python = installed.python.as_ref().map(|ready| ready.described());
    let said = [
        ("inputs.unread", found.unread),
        ("interpreter.elsewhere", elsewhere),
        ("workspace.missed", missed(&found.sealed.missed)),
        ("workspace.repository", repository(launch, found.sealed)),
        ("sandbox.packages", python),
        ("sandbox.packages", installed.system.as_ref().map(System::described)),
        ("sandbox.image", launch.docker.as_ref().map(|docker| docker.described())),
        ("sandbox.cloud", launch.cloud.as_ref().map(|of| of.cloud.described())),
    ];
    let body = |(notice, message): (&str, Option<String>)| {
        Some(EventBody::Notice { notice: notice.to_owned(), message: message? })
    };
    said.into_iter().filter_map(body).collect()
}

/// A commit of everything would take these out of the repository.
fn missed(paths: &[RelPath]) -> Option<String> {
    if paths.is_empty() {
        return None;
    }
    let mut names = paths.iter().take(NAMED).map(RelPath::to_string).collect::<Vec<_>>().join(", ");
    if paths.len() > NAMED {
        names.push_str(&format!(" and {} more", paths.len() - NAMED));
    }
    Some(format!(
        "hidden, but tracked by Git, which takes it for deleted there: {names}; what is marked with \
         `git update-index --skip-worktree` stays out of what a step commits"
    ))
}

/// Git does not work in a sandbox that does not show its folder.
fn repository(launch: &Launch, sealed: &Sealed) -> Option<String> {
    let folder = sealed.repository.as_ref()?;
    // Git looks for it at its own path.
    let mut shown = launch.ro.iter().chain(&launch.rw).map(|(_, target)| target);
    (launch.backend == Backend::Native && !shown.any(|target| folder.starts_with(target))).then(|| {
        format!(
            "Git's folder of the project lies outside of it, and steps do not see it: name {} under `ro` in [sandbox], \
             to read it",
            folder.display()
        )
    })
}
