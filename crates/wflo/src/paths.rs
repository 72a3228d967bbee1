//! Paths by their text.

use std::path::{Component, Path, PathBuf};

/// The path without `.` and `..`: what it names need not exist here.
pub(crate) fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}
