//! Paths as clients write them.

use std::path::{Component, Path, PathBuf};

use crate::fault::Fault;

/// The home folder, which relative paths begin at.
pub(super) fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

/// The absolute path that a client means: `~` is the home folder, and so is where relative ones begin; `.`
/// and `..` are taken out by name alone, as E2B does.
///
/// # Errors
/// When it is empty or holds a NUL.
pub(super) fn absolute(given: &str) -> Result<PathBuf, Fault> {
    absolute_from(given, &home())
}

fn absolute_from(given: &str, home: &Path) -> Result<PathBuf, Fault> {
    if given.contains('\0') {
        return Err(Fault::invalid("the path holds a NUL"));
    }
    let path = match given.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => home.join(given),
    };
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_made_absolute_by_its_name_alone() {
        let home = Path::new("/home/user");
        for (given, meant) in [
            ("a.txt", "/home/user/a.txt"),
            ("", "/home/user"),
            (".", "/home/user"),
            ("~", "/home/user"),
            ("~/a", "/home/user/a"),
            ("~other", "/home/user/~other"),
            ("/etc/passwd", "/etc/passwd"),
            ("../../../../x", "/x"),
            ("/a/./b/../c/", "/a/c"),
        ] {
            assert_eq!(absolute_from(given, home).unwrap(), Path::new(meant), "{given}");
        }
        assert!(absolute_from("a\0b", home).is_err());
    }
}
