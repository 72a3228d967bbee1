//! Git's files of settings, each read once for a project.
//!
//! Files include each other, and who wrote a project may have written them: what is read has a limit, and where that is
//! reached it is said.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::config::{Item, first_name, items, text};
use super::named::{MOST_NAMED, Named, Part, at_home, of_setting};
use super::read;

/// So many files are read.
const MOST_FILES: usize = 10_000;
/// So long are all of them together.
const LONGEST: u64 = 16 * 1024 * 1024;

/// What the settings of Git name.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) found: HashSet<Named>,
    /// A limit was reached: there may be more.
    pub(crate) is_cut: bool,
}

/// What one file says.
#[derive(Debug, Default)]
struct Said {
    /// Relative paths are of where the commands are run.
    named: Vec<Named>,
    includes: Vec<PathBuf>,
}

/// Reads for one project.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// By the file, and by the folder that what it includes is of.
    said: HashMap<(PathBuf, PathBuf), Rc<Said>>,
    length: u64,
    /// How often a path was named: each costs time, also where it was named before.
    named: usize,
    pub(super) names: Names,
}

impl Reader {
    /// Adds what these files name, and those that they include. Commands are run in `folder`.
    pub(super) fn add<'a>(&mut self, files: impl Iterator<Item = &'a PathBuf>, folder: &Path) {
        let mut left: Vec<PathBuf> = files.cloned().collect();
        let mut seen = HashSet::new();
        while let Some(file) = left.pop() {
            if self.names.is_cut {
                return;
            }
            let Some((key, said)) = self.said(&file) else { continue };
            if !seen.insert(key) {
                continue;
            }
            self.names.is_cut |= said.named.len() > MOST_NAMED || said.includes.len() > MOST_FILES;
            for Named { path, part } in said.named.iter().take(MOST_NAMED) {
                self.name(folder.join(path), *part);
            }
            for included in said.includes.iter().take(MOST_FILES) {
                self.name(included.clone(), Part::Whole);
                left.push(included.clone());
            }
        }
    }

    /// Adds one path.
    pub(super) fn name(&mut self, path: PathBuf, part: Part) {
        self.named += 1;
        if self.named > MOST_NAMED {
            self.names.is_cut = true;
        } else {
            self.names.found.insert(Named { path, part });
        }
    }

    fn said(&mut self, file: &Path) -> Option<((PathBuf, PathBuf), Rc<Said>)> {
        let key = (file.canonicalize().ok()?, file.parent()?.canonicalize().ok()?);
        if let Some(said) = self.said.get(&key) {
            return Some((key, Rc::clone(said)));
        }
        let room = LONGEST - self.length;
        let content = read(file, room + 1).unwrap_or_default();
        let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
        if length > room || self.said.len() == MOST_FILES {
            self.names.is_cut = true;
            return None;
        }
        self.length += length;
        let said = Rc::new(said(&content, file.parent()?));
        self.said.insert(key.clone(), Rc::clone(&said));
        Some((key, said))
    }
}

fn said(content: &[u8], folder: &Path) -> Said {
    let mut said = Said::default();
    each(content, |section, key, value| match (section, key) {
        ("include" | "includeif", "path") => {
            said.includes.extend(at_home(value).map(|path| folder.join(path)));
        }
        // One more than all tells that there are more.
        _ if said.named.len() > MOST_NAMED => {}
        _ => said.named.extend(of_setting(section, key, value)),
    });
    said
}

/// The values of `core.worktree`, of each file once.
#[derive(Debug, Default)]
pub(super) struct Worktrees(HashMap<PathBuf, Vec<PathBuf>>);

impl Worktrees {
    /// Every one in this file.
    pub(super) fn of(&mut self, file: &Path) -> &[PathBuf] {
        let Ok(real) = file.canonicalize() else { return &[] };
        self.0.entry(real).or_insert_with(|| {
            let mut found = Vec::new();
            each(&read(file, LONGEST).unwrap_or_default(), |section, key, value| {
                if (section, key) == ("core", "worktree") {
                    found.push(PathBuf::from(value));
                }
            });
            found
        })
    }
}

/// Calls with the section, the key, both in lower case, and the value of each setting that has one.
fn each(content: &[u8], mut call: impl FnMut(&str, &str, &str)) {
    let text = text(content);
    let mut section = String::new();
    for item in items(&text) {
        match item {
            Item::Section(header) => section = first_name(header),
            Item::Setting(key, Some(value)) => call(&section, &key.to_ascii_lowercase(), &value),
            Item::Setting(_, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_include_each_other_are_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        let own: String = (0..50).map(|_| "path = config\npath = ./other\n").collect();
        std::fs::write(&config, format!("[include]\n{own}[core]\nfsmonitor = a/b\n")).unwrap();
        std::fs::write(folder.path().join("other"), format!("[include]\n{own}")).unwrap();
        let mut reader = Reader::default();
        reader.add([config].iter(), Path::new("/w"));
        assert_eq!(reader.said.len(), 2);
        let named = Named { path: PathBuf::from("/w/a/b"), part: Part::File };
        assert!(reader.names.found.contains(&named) && !reader.names.is_cut);
    }

    #[test]
    fn a_limit_that_is_reached_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        let file = std::fs::File::create(&config).unwrap();
        for (length, is_cut) in [(LONGEST, false), (LONGEST + 1, true)] {
            file.set_len(length).unwrap();
            let mut reader = Reader::default();
            reader.add([config.clone()].iter(), Path::new("/w"));
            assert_eq!(reader.names.is_cut, is_cut, "{length}");
        }
    }
}
