//! The question that the user was shown last, in a project: `latest` is that one, when it is decided.
//!
//! Which question is the latest is up to the steps: one may be withdrawn, and another asked, between the moment at
//! which a person reads and the moment at which they answer. What this notes lets nobody do anything: it says only
//! that a word about `latest` is about what was read.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wflo_core::id::ApprovalId;

use super::own;

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Record {
    project: PathBuf,
    approval: ApprovalId,
}

fn place(root: &Path) -> PathBuf {
    own::beside(root, "shown")
}

/// Notes that the whole of a question of the project at `root` was shown. Where that cannot be kept, it counts as not
/// shown.
pub(crate) fn note(root: &Path, approval: ApprovalId) {
    note_at(&place(root), root, approval);
}

/// Whether that question is the last that was shown.
pub(crate) fn is_last(root: &Path, approval: ApprovalId) -> bool {
    is_last_at(&place(root), root, approval)
}

fn note_at(path: &Path, root: &Path, approval: ApprovalId) {
    if let Err(error) = own::write(path, &Record { project: root.to_owned(), approval }) {
        tracing::debug!(path = %path.display(), "it is not kept which question was shown: {error}");
    }
}

fn is_last_at(path: &Path, root: &Path, approval: ApprovalId) -> bool {
    let found = own::read::<Record>(path).ok().flatten();
    found.is_some_and(|found| found.project == root && found.approval == approval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_question_of_the_same_project_was_shown() {
        let folder = tempfile::tempdir().unwrap();
        let (path, root) = (folder.path().join("shown/x.json"), Path::new("/a/project"));
        let id = |digit: char| format!("apr_01a1fe1eea157971a9ee952eebb5480{digit}").parse().unwrap();
        assert!(!is_last_at(&path, root, id('a')));
        note_at(&path, root, id('a'));
        assert!(is_last_at(&path, root, id('a')));
        assert!(!is_last_at(&path, root, id('b')) && !is_last_at(&path, Path::new("/another"), id('a')));
        note_at(&path, root, id('b'));
        assert!(!is_last_at(&path, root, id('a')), "another was shown since");
        std::fs::write(&path, "{").unwrap();
        assert!(!is_last_at(&path, root, id('b')));
    }
}
