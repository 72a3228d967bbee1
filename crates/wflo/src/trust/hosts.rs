//! Hosts that the user has let in, or kept out, for always: in the user's own folder, never in the project.
//!
//! They answer the question about an unknown host, for the project in which it was asked. What is kept out is
//! kept out of every run of that project, whatever its `wflo.toml` says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wflo_core::approval::{Decision, Lasts, Purpose};
use wflo_core::error::{Coded as _, Failure};

use super::own::{self, Uncounted, Unkept};
use crate::failure::CommandError;

/// What was said for always, as rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) allow: BTreeSet<String>,
    pub(crate) deny: BTreeSet<String>,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Record {
    project: PathBuf,
    #[serde(default)]
    allow: BTreeSet<String>,
    #[serde(default)]
    deny: BTreeSet<String>,
}

fn place(root: &Path) -> PathBuf {
    own::beside(root, "hosts")
}

/// What was said for the project at `root`; nothing where there is no record.
///
/// # Errors
/// When there is one that does not count: what is kept out must not be let in by its damage.
pub(crate) fn read(root: &Path) -> Result<Remembered, CommandError> {
    Ok(read_at(&place(root), root)?)
}

/// What is kept out of the project at `root` by now, as rules.
///
/// # Errors
/// As [`read`].
pub(crate) fn kept_out(root: &Path) -> Result<Vec<String>, Failure> {
    let known = read_at(&place(root), root).map_err(|error| error.to_failure())?;
    Ok(known.deny.into_iter().collect())
}

fn read_at(path: &Path, root: &Path) -> Result<Remembered, Uncounted> {
    let found = own::read::<Record>(path)?.filter(|record| record.project == root);
    Ok(found.map(|Record { allow, deny, .. }| Remembered { allow, deny }).unwrap_or_default())
}

/// Keeps an answer about a host that holds for always.
///
/// # Errors
/// When it cannot be kept.
pub(crate) fn remember(root: &Path, purpose: &Purpose, decision: &Decision) -> Result<(), CommandError> {
    match purpose {
        Purpose::Host { rule } if decision.lasts == Some(Lasts::Always) => {
            say(root, rule, Some(decision.approved)).map(drop)
        }
        _ => Ok(()),
    }
}

/// Keeps what is said of a host from now on; `None` forgets it. Whether that was new.
///
/// # Errors
/// When it cannot be kept.
pub(crate) fn say(root: &Path, rule: &str, allowed: Option<bool>) -> Result<bool, CommandError> {
    say_at(&place(root), root, rule, allowed)
}

fn say_at(path: &Path, root: &Path, rule: &str, allowed: Option<bool>) -> Result<bool, CommandError> {
    let unkept = |source| CommandError::from(Unkept { path: path.to_owned(), source });
    // Two answers at the same moment are both kept.
    let _alone = own::alone(path).map_err(unkept)?;
    let known = read_at(path, root)?;
    let said = changed(known.clone(), rule, allowed);
    if said == known {
        return Ok(false);
    }
    let record = Record { project: root.to_owned(), allow: said.allow, deny: said.deny };
    own::write(path, &record).map_err(unkept)?;
    Ok(true)
}

/// Forgets what was said for always of `named`: a rule as it is listed, or a host, in every way that it was asked
/// about. What was forgotten.
///
/// # Errors
/// When that cannot be kept.
pub(crate) fn forget(root: &Path, named: &str) -> Result<Vec<String>, CommandError> {
    let Remembered { allow, deny } = read(root)?;
    let is_named =
        |rule: &&String| *rule == named || rule.split_once("://").is_some_and(|(_, host)| host == named);
    let found: Vec<String> = allow.iter().chain(&deny).filter(is_named).cloned().collect();
    for rule in &found {
        say(root, rule, None)?;
    }
    Ok(found)
}

fn changed(mut known: Remembered, rule: &str, allowed: Option<bool>) -> Remembered {
    known.allow.remove(rule);
    known.deny.remove(rule);
    match allowed {
        Some(true) => drop(known.allow.insert(rule.to_owned())),
        Some(false) => drop(known.deny.insert(rule.to_owned())),
        None => {}
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_a_host_counts_and_can_be_forgotten() {
        let known = changed(Remembered::default(), "https://a.example", Some(true));
        let known = changed(known, "https://b.example", Some(false));
        let known = changed(known, "https://a.example", Some(false));
        assert!(known.allow.is_empty());
        assert_eq!(known.deny.len(), 2);
        let known = changed(known, "https://a.example", None);
        assert_eq!(known.deny.iter().collect::<Vec<_>>(), ["https://b.example"]);
    }

    #[test]
    fn what_was_said_is_of_one_project() {
        let folder = tempfile::tempdir().unwrap();
        let (path, root) = (folder.path().join("hosts/x.json"), Path::new("/a/project"));
        let allow = BTreeSet::from(["https://a.example".to_owned()]);
        let record = Record { project: root.to_owned(), allow: allow.clone(), deny: BTreeSet::new() };
        own::write(&path, &record).unwrap();
        assert_eq!(read_at(&path, root).unwrap().allow, allow);
        assert_eq!(read_at(&path, Path::new("/another")).unwrap(), Remembered::default());
    }

    #[test]
    fn a_record_that_does_not_count_is_said_and_lets_nothing_in() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let (path, root) = (folder.path().join("hosts/x.json"), Path::new("/a/project"));
        assert_eq!(read_at(&path, root).unwrap(), Remembered::default(), "there is none");
        say_at(&path, root, "https://a.example", Some(false)).unwrap();
        let refused = |what: &str| read_at(&path, root).expect_err(what).to_string();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o664)).unwrap();
        assert!(refused("a group could have written it").contains("others can write it"));
        assert!(say_at(&path, root, "https://a.example", Some(true)).is_err());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&path, "{\"project\":").unwrap();
        assert!(refused("it is damaged").contains("EOF"));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        refused("a link");
    }

    #[test]
    fn of_answers_at_the_same_moment_all_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (path, root) = (folder.path().join("hosts/x.json"), Path::new("/a/project"));
        let (path, many) = (&path, 16);
        std::thread::scope(|threads| {
            for n in 0..many {
                threads.spawn(move || {
                    say_at(path, root, &format!("https://{n}.example"), Some(n % 2 == 0)).unwrap()
                });
            }
        });
        let known = read_at(path, root).unwrap();
        assert_eq!(known.allow.len() + known.deny.len(), many);
    }
}
