//! Runs that are removed, the trees that the others need, and what is left of the removed.
//!
//! **Architecture Invariant:** a run is removed whole, in one transaction that also keeps what it spent
//! and where its records stand; a run of a chain of retries that goes on is not removed.

use rusqlite::{Connection, params};
use wflo_core::cost::{PromptCache, Spent, Sum};
use wflo_core::id::RunId;
use wflo_core::ports::store::{Leftover, OpResult, RunTrees, StoreError};

use super::budget;
use super::column::{self, Money, Parsed, Unsigned};
use super::fault::Fault;
use super::tx::Tx;
use crate::cell;

pub(crate) fn keep_trees(tx: &mut Tx<'_>, run: RunId, trees: &[String]) -> Result<OpResult, Fault> {
    let n = tx.key(run)?;
    for tree in trees {
        tx.write("INSERT OR IGNORE INTO run_trees (run, tree) VALUES (?1, ?2)", params![n, tree])?;
    }
    Ok(OpResult::Done)
}

pub(crate) fn drop_trees(tx: &mut Tx<'_>, run: RunId) -> Result<OpResult, Fault> {
    let n = tx.key(run)?;
    tx.write("DELETE FROM run_trees WHERE run = ?1", [n])?;
    Ok(OpResult::Done)
}

pub(crate) fn remove(
    tx: &mut Tx<'_>,
    run: RunId,
    epoch: u64,
    spent: &[Spent],
    databases: &[String],
) -> Result<OpResult, Fault> {
    let head = *tx.head(run)?;
    if head.epoch != epoch {
        return Err(StoreError::LeaseLost { run, current: head.epoch, held: epoch }.into());
    }
    let needed = |why: String| Fault::from(StoreError::StillNeeded { run, why });
    if !head.status.is_terminal() {
        return Err(needed(format!("it is {}", head.status)));
    }
    let key: Option<String> =
        tx.row("SELECT budget_key FROM run_details WHERE n = ?1", [head.n], |row| row.get(0))?;
    let key = key.ok_or_else(|| StoreError::NotFound { noun: "run", id: run.to_string() })?;
    let goes_on: Option<String> = tx.row(
        "SELECT runs.id FROM runs JOIN run_details ON run_details.n = runs.n
         WHERE runs.finished_at IS NULL AND run_details.budget_key = ?1 AND runs.n <> ?2",
        params![key, head.n],
        |row| row.get(0),
    )?;
    if let Some(other) = goes_on {
        return Err(needed(format!("{other}, which retries it, has not ended")));
    }
    let open: Option<String> =
        tx.row("SELECT id FROM holds WHERE run = ?1 AND state = 'open'", [head.n], |row| row.get(0))?;
    if open.is_some() {
        return Err(needed("a call of it is not settled".to_owned()));
    }
    for sql in [
        "DELETE FROM effect_requests WHERE n IN (SELECT n FROM effects WHERE run = ?1)",
        "DELETE FROM effects WHERE run = ?1",
        "DELETE FROM cancelled_waits WHERE run = ?1",
        "DELETE FROM contents WHERE run = ?1",
        "DELETE FROM content_links WHERE run = ?1",
        "DELETE FROM events WHERE run = ?1",
        "DELETE FROM approvals WHERE run = ?1",
        "DELETE FROM holds WHERE run = ?1",
        "DELETE FROM inbox WHERE run = ?1",
        "DELETE FROM timers WHERE run = ?1",
        "DELETE FROM run_trees WHERE run = ?1",
        "DELETE FROM run_details WHERE n = ?1",
        "DELETE FROM runs WHERE n = ?1",
    ] {
        tx.write(sql, [head.n])?;
    }
    close_budgets(tx, &key)?;
    for line in spent {
        put_spent(tx, line)?;
    }
    for database in databases {
        tx.write(
            "INSERT OR IGNORE INTO leftovers (database, run) VALUES (?1, ?2)",
            params![database, run.to_string()],
        )?;
    }
    tx.removed(run);
    Ok(OpResult::Done)
}

/// Removes a chain's own accounts with its last run. Those of a workflow outlive all runs.
fn close_budgets(tx: &Tx<'_>, key: &str) -> Result<(), Fault> {
    let others = tx.row(
        "SELECT 1 FROM runs WHERE id = ?1
         UNION ALL SELECT 1 FROM run_details WHERE budget_key = ?1 AND retried_from IS NOT NULL",
        [key],
        |_| Ok(()),
    )?;
    if others.is_none() {
        // `0` is the character after `/`: the keys of the chain's steps and agents.
        tx.write(
            "DELETE FROM budgets WHERE scope IN ('run', 'step', 'agent') AND NOT standing
             AND (key = ?1 OR (key > ?1 || '/' AND key < ?1 || '0'))",
            [key],
        )?;
    }
    Ok(())
}

fn put_spent(tx: &Tx<'_>, line: &Spent) -> Result<(), Fault> {
    let Sum { calls, hits, input_tokens, cached_tokens, output_tokens, cost, uncertain, saved, prompt_cache } =
        line.sum;
    tx.write(
        "INSERT INTO spent (run, workflow, created_at, step, provider, model, calls, input_tokens,
             output_tokens, cost_nanos, uncertain_nanos, day, agent, cached_tokens, labels, hits, saved_nanos,
             cache_write_tokens, prompt_cache_nanos)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        params![
            line.run.to_string(),
            line.workflow,
            column::time(line.created_at),
            line.step,
            line.provider,
            line.model,
            column::signed(calls)?,
            column::signed(input_tokens)?,
            column::signed(output_tokens)?,
            Money(cost),
            Money(uncertain),
            line.day.to_string(),
            line.agent,
            column::signed(cached_tokens)?,
            cell::plain(&line.labels)?,
            column::signed(hits)?,
            Money(saved),
            column::signed(prompt_cache.written_tokens)?,
            Money(prompt_cache.saved),
        ],
    )?;
    Ok(())
}

pub(crate) fn drop_leftover(tx: &Tx<'_>, leftover: &Leftover) -> Result<OpResult, Fault> {
    tx.write(
        "DELETE FROM leftovers WHERE database = ?1 AND run = ?2",
        params![leftover.database, leftover.run.to_string()],
    )?;
    Ok(OpResult::Done)
}

pub(crate) fn trees(conn: &Connection) -> Result<Vec<String>, Fault> {
    let mut statement = conn.prepare_cached("SELECT DISTINCT tree FROM run_trees ORDER BY tree")?;
    let found = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

pub(crate) fn run_trees(conn: &Connection) -> Result<Vec<RunTrees>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT runs.id, run_trees.tree FROM run_trees JOIN runs ON runs.n = run_trees.run
         ORDER BY run_trees.run, run_trees.tree",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, Parsed<RunId>>(0)?.0, row.get(1)?)))?;
    let mut found: Vec<RunTrees> = Vec::new();
    for row in rows {
        let (run, tree) = row?;
        match found.last_mut().filter(|last| last.run == run) {
            Some(last) => last.trees.push(tree),
            None => found.push(RunTrees { run, trees: vec![tree] }),
        }
    }
    Ok(found)
}

pub(crate) fn spent(conn: &Connection) -> Result<Vec<Spent>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT run, workflow, created_at, step, provider, model, calls, input_tokens, output_tokens,
             cost_nanos, uncertain_nanos, day, agent, cached_tokens, labels, hits, saved_nanos,
             cache_write_tokens, prompt_cache_nanos FROM spent ORDER BY n",
    )?;
    let lines = statement.query_map([], |row| {
        Ok(Spent {
            run: row.get::<_, Parsed<_>>(0)?.0,
            workflow: row.get(1)?,
            created_at: row.get::<_, Parsed<_>>(2)?.0,
            day: row.get::<_, Parsed<_>>(11)?.0,
            step: row.get(3)?,
            agent: row.get(12)?,
            labels: budget::json(14, &row.get::<_, String>(14)?)?,
            provider: row.get(4)?,
            model: row.get(5)?,
            sum: Sum {
                calls: row.get::<_, Unsigned>(6)?.0,
                input_tokens: row.get::<_, Unsigned>(7)?.0,
                cached_tokens: row.get::<_, Unsigned>(13)?.0,
                output_tokens: row.get::<_, Unsigned>(8)?.0,
                cost: row.get::<_, Money>(9)?.0,
                uncertain: row.get::<_, Money>(10)?.0,
                hits: row.get::<_, Unsigned>(15)?.0,
                saved: row.get::<_, Money>(16)?.0,
                prompt_cache: PromptCache {
                    written_tokens: row.get::<_, Unsigned>(17)?.0,
                    saved: row.get::<_, Money>(18)?.0,
                },
            },
        })
    })?;
    Ok(lines.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn leftovers(conn: &Connection) -> Result<Vec<Leftover>, Fault> {
    let mut statement = conn.prepare_cached("SELECT database, run FROM leftovers ORDER BY database, run")?;
    let found = statement
        .query_map([], |row| Ok(Leftover { database: row.get(0)?, run: row.get::<_, Parsed<_>>(1)?.0 }))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}
