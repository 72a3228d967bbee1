//! The net change of several effects, and what others did in between.
//!
//! SQLite can join changesets, but takes it for granted that nobody else wrote between them: joined
//! blindly, "1 to 2" and "5 to 6" become "1 to 6", and undoing that destroys the 5. So each row's
//! changes are followed as a chain. Where the chain breaks, somebody else wrote; what lies before
//! the break is left alone unless overwriting was asked for.

use std::collections::{BTreeMap, HashMap};

use super::connection::Call;
use super::replay::{Conflicts, row_conflict};
use super::session::{Change, Changes, Group};
use crate::change::ChangeKind;
use crate::changeset::{Changeset, TableShape};
use crate::error::DataError;
use crate::undo::ConflictKind;
use crate::value::Value;

/// A change's place: which effect, and which of its changes.
type Place = (usize, usize);

/// The changes of one row, in order.
struct Chain {
    /// What is known of the row after the last change.
    state: State,
    /// The unbroken parts.
    segments: Vec<Vec<Place>>,
    /// The last change of the first part, for a report.
    first: Option<Change>,
}

enum State {
    Gone,
    /// The values of the columns that are known.
    There(Vec<Option<Value>>),
}

/// Joins the changes of `effects`, which are in the order of their commits, as far as they concern
/// `tables`. With `whole` breaks are ignored; without, they are added to `conflicts`.
pub(super) fn net(
    call: &Call<'_>,
    effects: &[Changeset],
    tables: Option<&[String]>,
    whole: bool,
    conflicts: &mut Conflicts,
) -> Result<Changeset, DataError> {
    let shapes = shapes(effects)?;
    let concerns =
        |table: &str| tables.is_none_or(|tables| tables.iter().any(|name| name.eq_ignore_ascii_case(table)));
    let mut chains = HashMap::new();
    if !whole {
        each(call, effects, |place, changes| {
            let change = call.ok(changes.decode())?;
            if concerns(&change.table) {
                follow(&mut chains, place, change);
            }
            Ok(())
        })?;
    }

    // Parts before a break: of each, its number; the last part of a row has none.
    let mut early: HashMap<Place, usize> = HashMap::new();
    let mut parts: Vec<(Group, Option<Change>, bool)> = Vec::new();
    for chain in chains.into_values().filter(|chain| chain.segments.len() > 1) {
        let last = chain.segments.len() - 1;
        let mut first = chain.first;
        for segment in chain.segments.into_iter().take(last) {
            early.extend(segment.into_iter().map(|place| (place, parts.len())));
            parts.push((call.ok(Group::new())?, first.take(), true));
        }
    }

    let mut group = call.ok(Group::new())?;
    each(call, effects, |place, changes| {
        if !concerns(&call.ok(changes.head())?.0) {
            return Ok(());
        }
        let part = early.get(&place).and_then(|part| parts.get_mut(*part));
        call.ok(match part {
            Some((part, _, _)) => part.add(changes),
            None => group.add(changes),
        })
    })?;
    // A part that cancelled itself out (an undo of the step's own) asks for nothing.
    for (part, change, _) in &parts {
        if let (false, Some(change)) = (call.ok(part.changeset())?.is_empty(), change) {
            let described = Changeset { bytes: Vec::new(), tables: shapes.clone() };
            conflicts.kept += 1;
            conflicts.add(row_conflict(&described, change, ConflictKind::ChangedBetween, None));
        }
    }
    let bytes = call.ok(group.changeset())?;
    Ok(Changeset { bytes, tables: shapes.into_iter().filter(|shape| concerns(&shape.name)).collect() })
}

/// Calls `visit` at each change of each effect.
fn each(
    call: &Call<'_>,
    effects: &[Changeset],
    mut visit: impl FnMut(Place, &Changes<'_>) -> Result<(), DataError>,
) -> Result<(), DataError> {
    for (effect, changeset) in effects.iter().enumerate() {
        let mut changes = call.ok(Changes::of(&changeset.bytes))?;
        let mut index = 0;
        while call.ok(changes.advance())? {
            visit((effect, index), &changes)?;
            index += 1;
        }
    }
    Ok(())
}

/// Adds a change to its row's chain.
fn follow(chains: &mut HashMap<(String, Vec<u8>), Chain>, place: Place, change: Change) {
    let row = (change.table.to_ascii_lowercase(), encoded_key(&change));
    let state = after(&change);
    let Some(chain) = chains.get_mut(&row) else {
        chains.insert(row, Chain { state, segments: vec![vec![place]], first: Some(change) });
        return;
    };
    let unbroken = follows(&chain.state, &change);
    match chain.segments.last_mut().filter(|_| unbroken) {
        Some(segment) => segment.push(place),
        None => chain.segments.push(vec![place]),
    }
    chain.state = match (state, std::mem::replace(&mut chain.state, State::Gone)) {
        // An update leaves the columns that it does not name as they were.
        (State::There(new), State::There(known)) if change.kind == ChangeKind::Update => {
            State::There(new.into_iter().zip(known).map(|(new, known)| new.or(known)).collect())
        }
        (state, _) => state,
    };
    if chain.segments.len() == 1 {
        chain.first = Some(change);
    }
}

/// What is known of a row after a change.
fn after(change: &Change) -> State {
    match change.kind {
        ChangeKind::Delete => State::Gone,
        ChangeKind::Insert => State::There(change.new.clone()),
        ChangeKind::Update => {
            let both = change.new.iter().zip(&change.old);
            State::There(both.map(|(new, old)| new.clone().or_else(|| old.clone())).collect())
        }
    }
}

/// Whether a change starts from the state that the one before left.
fn follows(state: &State, change: &Change) -> bool {
    match (state, change.kind) {
        (State::Gone, kind) => kind == ChangeKind::Insert,
        (State::There(_), ChangeKind::Insert) => false,
        (State::There(known), _) => known
            .iter()
            .zip(&change.old)
            .all(|pair| !matches!(pair, (Some(known), Some(old)) if known != old)),
    }
}

fn encoded_key(change: &Change) -> Vec<u8> {
    let values = if change.kind == ChangeKind::Insert { &change.new } else { &change.old };
    let mut encoded = Vec::new();
    for (_, value) in change.key.iter().zip(values).filter(|(place, _)| **place > 0) {
        value.as_ref().unwrap_or(&Value::Null).encode(&mut encoded);
    }
    encoded
}

/// The shapes of all tables; a table must have been the same for every effect.
fn shapes(effects: &[Changeset]) -> Result<Vec<TableShape>, DataError> {
    let mut shapes: BTreeMap<String, TableShape> = BTreeMap::new();
    for shape in effects.iter().flat_map(|changeset| &changeset.tables) {
        let known = shapes.entry(shape.name.to_ascii_lowercase()).or_insert_with(|| shape.clone());
        if (&known.columns, &known.key) != (&shape.columns, &shape.key) {
            return Err(DataError::SchemaChanged {
                table: shape.name.clone(),
                detail: "its columns changed between two of the effects to undo".to_owned(),
            });
        }
    }
    Ok(shapes.into_values().collect())
}
