//! `[databases.NAME]` and `[storage]`: addresses of databases.

use std::path::{Path, PathBuf};

use crate::document::{Field, Kind, Problem};

/// A SQLite file, absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SqliteUrl {
    pub(crate) path: PathBuf,
}

impl std::fmt::Display for SqliteUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sqlite:{}", self.path.display())
    }
}

/// Reads one `[databases.NAME]`.
pub(super) fn read(field: &Field<'_>, root: &Path) -> Result<SqliteUrl, Problem> {
    let mut reader = field.table()?;
    let url = read_url(&reader.required("url")?, root)?;
    reader.finish()?;
    Ok(url)
}

/// Reads `[storage]`: the store's file, if one is named.
pub(super) fn read_storage(field: &Field<'_>, root: &Path) -> Result<Option<PathBuf>, Problem> {
    let mut reader = field.table()?;
    let url = reader.optional("url").map(|url| read_url(&url, root)).transpose()?;
    reader.finish()?;
    Ok(url.map(|url| url.path))
}

fn read_url(field: &Field<'_>, root: &Path) -> Result<SqliteUrl, Problem> {
    let text = field.name()?;
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        // The address may hold a password: it is not repeated.
        return Err(field
            .problem(Kind::Later, "is a Postgres address, which belongs to a later release")
            .hint("use a SQLite file: \"sqlite:data/main.db\""));
    }
    let wrong = || field.wrong("a SQLite address such as \"sqlite:data/main.db\"");
    let path = text.strip_prefix("sqlite:").ok_or_else(wrong)?;
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.starts_with(":memory:") || path.contains('?') {
        return Err(wrong());
    }
    Ok(SqliteUrl { path: root.join(path) })
}
