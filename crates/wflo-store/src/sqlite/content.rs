//! What was asked of models: pieces, once a run.
//!
//! Owns `contents` and `content_links`. Pieces are rows, not blobs: a call's intent and what it asked are one commit
//! and one flush.

use rusqlite::{Connection, params};
use wflo_core::content::{Contents, Name, Piece};
use wflo_core::id::RunId;
use wflo_core::ports::store::OpResult;

use super::fault::Fault;
use super::tx::Tx;

pub(crate) fn keep(tx: &mut Tx<'_>, run: RunId, pieces: &[Piece]) -> Result<OpResult, Fault> {
    let n = tx.key(run)?;
    for piece in pieces {
        match piece {
            Piece::Text { name, text } => tx.write(
                "INSERT OR IGNORE INTO contents (run, name, text) VALUES (?1, ?2, ?3)",
                params![n, name, &**text],
            )?,
            Piece::Link { name, before, text } => tx.write(
                "INSERT OR IGNORE INTO content_links (run, name, before, text) VALUES (?1, ?2, ?3, ?4)",
                params![n, name, before, text],
            )?,
        };
    }
    Ok(OpResult::Done)
}

/// All of a run's pieces.
pub(crate) fn of_run(conn: &Connection, run: RunId) -> Result<Contents, Fault> {
    let mut contents = Contents::default();
    let mut texts = conn
        .prepare_cached("SELECT name, text FROM contents WHERE run = (SELECT n FROM runs WHERE id = ?1)")?;
    let mut rows = texts.query([run.to_string()])?;
    while let Some(row) = rows.next()? {
        contents.text(row.get::<_, Name>(0)?, row.get(1)?);
    }
    let mut links = conn.prepare_cached(
        "SELECT name, before, text FROM content_links WHERE run = (SELECT n FROM runs WHERE id = ?1)",
    )?;
    let mut rows = links.query([run.to_string()])?;
    while let Some(row) = rows.next()? {
        contents.link(row.get::<_, Name>(0)?, row.get::<_, Option<Name>>(1)?, row.get::<_, Name>(2)?);
    }
    Ok(contents)
}

/// What a run's pieces take, as [`Piece::bytes`] counts them.
pub(crate) fn bytes_of_run(conn: &Connection, run: RunId) -> Result<u64, Fault> {
    let sum: i64 = conn
        .prepare_cached(
            "SELECT (SELECT coalesce(sum(octet_length(text) + 64), 0) FROM contents WHERE run = runs.n)
                  + (SELECT 128 * count(*) FROM content_links WHERE run = runs.n)
             FROM runs WHERE id = ?1",
        )?
        .query_row([run.to_string()], |row| row.get(0))?;
    Ok(u64::try_from(sum).unwrap_or_default())
}
