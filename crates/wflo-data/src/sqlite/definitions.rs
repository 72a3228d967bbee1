//! The definitions of tables, indexes, views and triggers, for comparing before and after.
//!
//! Owns the reading of the schema table. Page numbers are left out: they are no part of a definition.

use std::collections::{BTreeMap, BTreeSet};

use super::authorizer::is_reserved;
use super::connection::Call;
use crate::change::DefinitionChange;
use crate::error::DataError;

/// Characters of a definition that are shown.
const SHOWN: usize = 2_000;
/// The most definitions that are shown: a renamed column can change every view.
const MOST: usize = 200;

/// Every definition but wflo's own, by kind and name. Automatic indexes have no text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Definitions(BTreeMap<(String, String), Option<String>>);

impl Definitions {
    /// All there are now.
    pub(super) fn read(call: &Call<'_>) -> Result<Self, DataError> {
        let mut all = BTreeMap::new();
        call.ok((|| {
            let sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema";
            let mut statement = call.connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (kind, name, table): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
                if !is_reserved(&name) && !is_reserved(&table) {
                    all.insert((kind, name), row.get(3)?);
                }
            }
            Ok(())
        })())?;
        Ok(Definitions(all))
    }

    /// The names of tables whose definitions are not the same in `after`.
    pub(super) fn altered_tables(&self, after: &Self) -> BTreeSet<String> {
        let keys = self.0.keys().chain(after.0.keys());
        let altered = keys.filter(|key| key.0 == "table" && self.0.get(key) != after.0.get(key));
        altered.map(|(_, name)| name.clone()).collect()
    }

    /// What differs in `after`, and whether a text was cut.
    pub(super) fn changes(&self, after: &Self) -> (Vec<DefinitionChange>, bool) {
        let keys: BTreeSet<_> = self.0.keys().chain(after.0.keys()).collect();
        let mut cut = false;
        let mut text = |side: &Self, key: &(String, String)| {
            let sql = side.0.get(key)?.as_ref()?;
            cut |= sql.chars().count() > SHOWN;
            Some(sql.chars().take(SHOWN).collect::<String>())
        };
        let mut changes = Vec::new();
        for key in keys {
            if self.0.get(key) == after.0.get(key) {
                continue;
            }
            let (before, now) = (text(self, key), text(after, key));
            // An automatic index comes and goes with its table.
            if before.is_some() || now.is_some() {
                let (kind, name) = key.clone();
                changes.push(DefinitionChange { kind, name, before, after: now });
            }
        }
        let all = changes.len();
        changes.truncate(MOST);
        (changes, cut || all > MOST)
    }

    /// A digest of both sides.
    pub(super) fn digest(&self, after: &Self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for side in [self, after] {
            hasher.update(&(side.0.len() as u64).to_be_bytes());
            for ((kind, name), sql) in &side.0 {
                for text in [Some(kind), Some(name), sql.as_ref()] {
                    hasher.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_be_bytes());
                    hasher.update(text.map_or(&[][..], |text| text.as_bytes()));
                }
            }
        }
        hasher.finalize()
    }
}
