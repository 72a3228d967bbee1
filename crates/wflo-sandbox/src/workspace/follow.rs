//! Where a name leads to: links are read, and nothing is opened.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::path::RelPath;

/// The kernel follows as many (`MAXSYMLINKS`, `linux/namei.h`).
const MOST_LINKS: usize = 40;

/// Every link on the way from the absolute path `from`, and where the way ends: those that lie in `project`, in this
/// order. Nothing needs to exist; `link` gives the target of what is a link.
pub(crate) fn follow(project: &Path, from: &Path, link: impl Fn(&Path) -> Option<Vec<u8>>) -> Vec<RelPath> {
    let mut passed = Vec::new();
    let mut note = |at: &Path| {
        let inside = at.strip_prefix(project).ok().map(|inside| inside.as_os_str().as_bytes());
        if let Some(inside) = inside {
            let root = inside.is_empty().then(RelPath::root);
            passed.extend(root.or_else(|| RelPath::from_bytes(inside).ok()));
        }
    };
    let parts = |text: &[u8]| text.split(|&b| b == b'/').rev().map(<[u8]>::to_vec).collect::<Vec<_>>();
    // The parts of the project's own path are real.
    let (mut at, mut todo) = match from.strip_prefix(project) {
        Ok(inside) => (project.to_owned(), parts(inside.as_os_str().as_bytes())),
        Err(_) => (PathBuf::from("/"), parts(from.as_os_str().as_bytes())),
    };
    let mut links = 0;
    while let Some(part) = todo.pop() {
        match part.as_slice() {
            b"" | b"." => continue,
            b".." => {
                at.pop();
                continue;
            }
            part => at.push(OsStr::from_bytes(part)),
        }
        let Some(target) = link(&at) else { continue };
        note(&at);
        links += 1;
        if links > MOST_LINKS {
            return passed;
        }
        at.pop();
        if target.starts_with(b"/") {
            at = PathBuf::from("/");
        }
        todo.extend(parts(&target));
    }
    note(&at);
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_in_the_project_and_through_what_lies_outside() {
        let link = |at: &Path| match at.to_str() {
            Some("/p/a") => Some(b"d/b".to_vec()),
            Some("/p/d") => Some(b"../q/e".to_vec()),
            Some("/q/e") => Some(b"/p/f/./g/..".to_vec()),
            Some("/p/loop") => Some(b"loop".to_vec()),
            _ => None,
        };
        let from = |from: &str| {
            let passed = follow(Path::new("/p"), Path::new(from), link);
            passed.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(from("/p/a"), ["a", "d", "f/b"]);
        assert_eq!(from("/p/x/../y"), ["y"]);
        assert_eq!(from("/p/x/.."), ["."], "the project itself");
        assert!(from("/p/../q/h").is_empty());
        assert_eq!(from("/p/loop").len(), MOST_LINKS + 1);
    }
}
