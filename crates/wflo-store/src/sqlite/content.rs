//! What was asked of models: pieces, once a run.
//!
//! Owns `contents` and `content_links`. Pieces are rows, not blobs: a call's intent and what it asked are one commit
//! and one flush.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension as _, params};
use wflo_core::content::{Link, Name, Outline, Piece, together};
use wflo_core::id::RunId;
use wflo_core::ports::store::OpResult;

use super::fault::Fault;
use super::tx::Tx;

/// Keeps what is not there yet; what that takes.
pub(crate) fn keep(tx: &mut Tx<'_>, run: RunId, pieces: &[Piece]) -> Result<OpResult, Fault> {
    let (n, mut bytes) = (tx.key(run)?, 0);
    for piece in pieces {
        let rows = match piece {
            Piece::Text { name, text } => tx.write(
                "INSERT OR IGNORE INTO contents (run, name, text) VALUES (?1, ?2, ?3)",
                params![n, name, &**text],
            )?,
            Piece::Link { name, before, text } => tx.write(
                "INSERT OR IGNORE INTO content_links (run, name, before, text) VALUES (?1, ?2, ?3, ?4)",
                params![n, name, before, text],
            )?,
        };
        bytes += if rows > 0 { piece.bytes() } else { 0 };
    }
    Ok(OpResult::Kept(bytes))
}

fn key(conn: &Connection, run: RunId) -> Result<Option<i64>, Fault> {
    let mut key = conn.prepare_cached("SELECT n FROM runs WHERE id = ?1")?;
    Ok(key.query_row([run.to_string()], |row| row.get(0)).optional()?)
}

fn link(conn: &Connection, n: i64, name: &Name) -> Result<Option<Link>, Fault> {
    let mut link =
        conn.prepare_cached("SELECT before, text FROM content_links WHERE run = ?1 AND name = ?2")?;
    let found = link
        .query_row(params![n, name], |row| Ok(Link { name: *name, before: row.get(0)?, text: row.get(1)? }));
    Ok(found.optional()?)
}

fn text(conn: &Connection, n: i64, name: &Name) -> Result<Option<String>, Fault> {
    let mut text = conn.prepare_cached("SELECT text FROM contents WHERE run = ?1 AND name = ?2")?;
    Ok(text.query_row(params![n, name], |row| row.get(0)).optional()?)
}

/// One request, put together.
pub(crate) fn request(conn: &Connection, run: RunId, outline: &Outline) -> Result<Option<String>, Fault> {
    let Some(n) = key(conn, run)? else { return Ok(None) };
    together(outline, |name| link(conn, n, name), |name| text(conn, n, name))
}

/// The links of a list from one of them backwards, at most so many.
pub(crate) fn links(conn: &Connection, run: RunId, last: Name, most: u32) -> Result<Vec<Link>, Fault> {
    let Some(n) = key(conn, run)? else { return Ok(Vec::new()) };
    let (mut next, mut found) = (Some(last), Vec::new());
    while let Some(at) = next.filter(|_| found.len() < most as usize) {
        let Some(link) = link(conn, n, &at)? else { break };
        next = link.before;
        found.push(link);
    }
    Ok(found)
}

/// One text.
pub(crate) fn text_of(conn: &Connection, run: RunId, name: &Name) -> Result<Option<String>, Fault> {
    let Some(n) = key(conn, run)? else { return Ok(None) };
    text(conn, n, name)
}

/// Which of these pieces are not there.
pub(crate) fn missing(conn: &Connection, run: RunId, names: &[Name]) -> Result<HashSet<Name>, Fault> {
    let Some(n) = key(conn, run)? else { return Ok(names.iter().copied().collect()) };
    let mut known = conn.prepare_cached(
        "SELECT 1 FROM contents WHERE run = ?1 AND name = ?2
         UNION ALL SELECT 1 FROM content_links WHERE run = ?1 AND name = ?2",
    )?;
    let mut missing = HashSet::new();
    for name in names {
        if !known.exists(params![n, name])? {
            missing.insert(*name);
        }
    }
    Ok(missing)
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
