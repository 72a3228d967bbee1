//! Where a database is: the `url` of `[databases.NAME]`.
//!
//! Owns the parse. `sqlite:relative/path.db` is relative to the project's root; an absolute path
//! stays as it is.

use std::path::{Path, PathBuf};

use crate::error::DataError;

/// A parsed database address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A SQLite file, absolute.
    Sqlite(PathBuf),
}

impl DatabaseUrl {
    /// Parses the address of the database `name`.
    ///
    /// # Errors
    /// [`DataError::UrlInvalid`] for another scheme, an empty path, or a database in memory.
    pub fn parse(name: &str, url: &str, root: &Path) -> Result<Self, DataError> {
        let invalid = |reason: &'static str| DataError::UrlInvalid {
            name: name.to_owned(),
            url: without_credentials(url),
            reason,
        };
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(invalid("it has no scheme"));
        };
        match scheme {
            "sqlite" => {
                let path = match rest.strip_prefix("//") {
                    Some(absolute) if absolute.starts_with('/') => absolute,
                    Some(_) => return Err(invalid("`sqlite://` must be followed by an absolute path")),
                    None => rest,
                };
                if path.is_empty() {
                    return Err(invalid("it names no file"));
                }
                if path.starts_with(":memory:") {
                    return Err(invalid("a database in memory would be lost between two effects"));
                }
                Ok(DatabaseUrl::Sqlite(root.join(path)))
            }
            "postgres" | "postgresql" => {
                Err(invalid("Postgres databases come in a later release; use sqlite: for now"))
            }
            _ => Err(invalid("its scheme is not known")),
        }
    }
}

/// The address as an error may show it: never a password.
fn without_credentials(url: &str) -> String {
    match (url.split_once("://"), url.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://…{}", &url[at..]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<DatabaseUrl, DataError> {
        DatabaseUrl::parse("main", url, Path::new("/project"))
    }

    #[test]
    fn paths_are_relative_to_the_project() {
        assert_eq!(parse("sqlite:data/a.db").unwrap(), DatabaseUrl::Sqlite("/project/data/a.db".into()));
        assert_eq!(parse("sqlite:/srv/a.db").unwrap(), DatabaseUrl::Sqlite("/srv/a.db".into()));
        assert_eq!(parse("sqlite:///srv/a.db").unwrap(), DatabaseUrl::Sqlite("/srv/a.db".into()));
    }

    #[test]
    fn what_cannot_be_opened_is_refused_and_a_password_is_not_repeated() {
        for url in ["data/a.db", "sqlite:", "sqlite::memory:", "sqlite://data/a.db", "mysql:x"] {
            assert!(matches!(parse(url), Err(DataError::UrlInvalid { .. })), "{url}");
        }
        let error = parse("postgres://me:secret@db.internal/x").unwrap_err().to_string();
        assert!(error.contains("db.internal") && !error.contains("secret"), "{error}");
    }
}
