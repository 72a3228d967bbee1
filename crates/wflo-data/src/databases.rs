//! The databases that a project names in `[databases.NAME]`.
//!
//! Owns the map and its default: `main`, or the only one. Opening checks that each can be opened,
//! so that a wrong path is known before a run starts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::database::Database;
use crate::error::DataError;
use crate::limits::Limits;
use crate::url::DatabaseUrl;

/// The default database's name.
const MAIN: &str = "main";

/// The open databases of one project.
#[derive(Debug)]
pub struct Databases {
    map: BTreeMap<String, Database>,
}

impl Databases {
    /// Opens every database of `urls` (name to address); relative paths start at `root`.
    ///
    /// # Errors
    /// [`DataError::UrlInvalid`], [`DataError::Missing`], [`DataError::NotADatabase`],
    /// [`DataError::CannotOpen`].
    pub fn open(urls: &BTreeMap<String, String>, root: &Path, limits: &Limits) -> Result<Self, DataError> {
        let mut map = BTreeMap::new();
        for (name, url) in urls {
            let url = DatabaseUrl::parse(name, url, root)?;
            map.insert(name.clone(), Database::open(name, &url, limits.clone())?);
        }
        Ok(Databases { map })
    }

    /// Lets these databases have writes approved of which a part can neither be shown nor bound. Names that
    /// there are not do no harm.
    #[must_use]
    pub fn allow_unseen(mut self, names: &BTreeSet<String>) -> Self {
        let allowed = |(name, database): (String, Database)| match names.contains(&name) {
            true => (name, database.allow_unseen()),
            false => (name, database),
        };
        self.map = self.map.into_iter().map(allowed).collect();
        self
    }

    /// The database called `name`; without a name `main`, or the only one.
    ///
    /// # Errors
    /// [`DataError::Unknown`] when there is none, or several and none is `main`.
    pub fn get(&self, name: Option<&str>) -> Result<&Database, DataError> {
        let found = match name {
            Some(name) => self.map.get(name),
            None => self.map.get(MAIN).or_else(|| self.map.values().next().filter(|_| self.map.len() == 1)),
        };
        found.ok_or_else(|| DataError::Unknown {
            wanted: name.map(str::to_owned),
            known: self.map.keys().cloned().collect(),
        })
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.map.keys().map(String::as_str)
    }

    /// Every file of every database: what no sandbox may see. Each path is given as configured and
    /// with its links resolved; a journal is listed whether it exists at the moment or not.
    ///
    /// The engine's own process must not open these files by any other means: on POSIX, closing any
    /// descriptor of a file drops the locks that SQLite holds on it in the same process.
    pub fn hidden_files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.map.values().flat_map(Database::files).collect();
        files.sort();
        files.dedup();
        files
    }
}
