//! `[databases.NAME]` and `[storage]`: addresses of databases.

use std::path::{Path, PathBuf};

use wflo_core::size::Bytes;

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

/// Reads one `[databases.NAME]`, and whether writes may be approved there of which a part is unseen.
pub(super) fn read(field: &Field<'_>, root: &Path) -> Result<(SqliteUrl, bool), Problem> {
    let mut reader = field.table()?;
    let url = read_url(&reader.required("url")?, root)?;
    let unseen = reader.optional("allow_unseen").map(|field| field.boolean()).transpose()?;
    reader.finish()?;
    Ok((url, unseen.unwrap_or(false)))
}

/// What one run may journal where nothing is said: 2,000 streamed answers of 500 KB, or 10,000 of 100 KB.
pub(super) const JOURNAL_LIMIT: Bytes = Bytes(1 << 30);
/// Less would refuse what a single effect may be.
const LEAST_JOURNAL: Bytes = Bytes(1 << 20);

/// What `[storage]` says.
#[derive(Default)]
pub(super) struct Storage {
    /// The store's file.
    pub(super) file: Option<PathBuf>,
    /// The most that one run may journal.
    pub(super) journal_limit: Option<Bytes>,
}

/// Reads `[storage]`.
pub(super) fn read_storage(field: &Field<'_>, root: &Path) -> Result<Storage, Problem> {
    let mut reader = field.table()?;
    let url = reader.optional("url").map(|url| read_url(&url, root)).transpose()?;
    let journal_limit = reader.optional("journal_limit").map(|field| read_limit(&field)).transpose()?;
    reader.finish()?;
    Ok(Storage { file: url.map(|url| url.path), journal_limit })
}

fn read_limit(field: &Field<'_>) -> Result<Bytes, Problem> {
    match field.parse()? {
        limit if limit < LEAST_JOURNAL => Err(field.wrong("at least 1m")),
        limit => Ok(limit),
    }
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
