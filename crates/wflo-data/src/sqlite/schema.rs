//! The tables of the database, as far as changesets care.
//!
//! Owns what can be held by a changeset and what cannot. Names compare as SQLite compares them.

use super::authorizer::{is_reserved, is_system};
use super::connection::Call;
use super::run::Inspected;
use crate::changeset::TableShape;
use crate::class::NotHeld;
use crate::error::DataError;

/// The name under which SQLite's sessions record the row id of a table without a primary key.
pub(super) const ROWID: &str = "_rowid_";

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ordinary,
    View,
    Virtual,
    /// A table that belongs to a virtual one.
    Shadow,
}

/// A table with its stored and generated columns.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub name: String,
    pub kind: Kind,
    pub columns: Vec<Column>,
    /// Whether a column of its primary key can be NULL, which changesets leave out silently.
    pub nullable_key: bool,
    /// Whether its primary key is its row id.
    pub rowid_is_key: bool,
    /// Whether its primary key compares by another collation than BINARY.
    pub loose_key: bool,
    /// Whether it has no row ids.
    pub without_rowid: bool,
}

/// A column.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub name: String,
    /// Its place in the primary key from 1 on, or 0.
    pub key: u8,
    /// Generated, or hidden by a virtual table: not stored.
    pub computed: bool,
}

impl Table {
    /// Whether it has a primary key.
    pub(super) fn has_key(&self) -> bool {
        self.columns.iter().any(|column| column.key > 0)
    }

    /// The columns that a changeset records.
    pub(super) fn shape(&self) -> TableShape {
        let by_rowid = !self.has_key();
        let rowid = by_rowid.then(|| (ROWID.to_owned(), 1));
        let stored = self.columns.iter().filter(|column| !column.computed);
        let (columns, key) =
            rowid.into_iter().chain(stored.map(|column| (column.name.clone(), column.key))).unzip();
        TableShape { name: self.name.clone(), columns, key, by_rowid }
    }

    /// Why a changeset cannot hold changes to it.
    fn not_held(&self) -> Option<NotHeld> {
        let table = self.name.clone();
        match self.kind {
            Kind::View => None,
            Kind::Virtual | Kind::Shadow => Some(NotHeld::VirtualTable { table }),
            Kind::Ordinary if !self.has_key() => Some(NotHeld::NoPrimaryKey { table }),
            Kind::Ordinary if self.loose_key => Some(NotHeld::LooseKey { table }),
            Kind::Ordinary => None,
        }
    }

    /// A name of the row id that no column hides.
    pub(super) fn rowid(&self) -> Option<&'static str> {
        let hidden = |name: &str| self.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
        ["rowid", "oid", ROWID].into_iter().find(|name| !self.without_rowid && !hidden(name))
    }

    /// Whether a session takes one of its columns for the row id.
    pub(super) fn misleads_sessions(&self) -> bool {
        !self.has_key() && self.hides_rowid()
    }

    /// Whether a column of its own hides the row id.
    fn hides_rowid(&self) -> bool {
        self.columns.iter().any(|column| column.name.eq_ignore_ascii_case(ROWID))
    }
}

/// All tables that users may name, sorted by name.
pub(super) fn tables(call: &Call<'_>) -> Result<Vec<Table>, DataError> {
    let names: Vec<String> = call.ok((|| {
        let sql = "SELECT name FROM pragma_table_list WHERE schema = 'main' ORDER BY name";
        call.connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
    })())?;
    let user = names.into_iter().filter(|name| !is_reserved(name) && !is_system(name));
    user.filter_map(|name| table(call, &name).transpose()).collect()
}

/// The table called `name`.
pub(super) fn table(call: &Call<'_>, name: &str) -> Result<Option<Table>, DataError> {
    call.ok(read_table(call, name))
}

fn read_table(call: &Call<'_>, name: &str) -> rusqlite::Result<Option<Table>> {
    let sql =
        "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE";
    let mut statement = call.connection.prepare(sql)?;
    let mut found = statement.query([name])?;
    let Some(row) = found.next()? else {
        return Ok(None);
    };
    let (name, kind, without_rowid): (String, String, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let kind = match kind.as_str() {
        "view" => Kind::View,
        "virtual" => Kind::Virtual,
        "shadow" => Kind::Shadow,
        _ => Kind::Ordinary,
    };
    let sql = "SELECT name, type, \"notnull\", pk, hidden FROM pragma_table_xinfo(?1) ORDER BY cid";
    let mut statement = call.connection.prepare(sql)?;
    let mut rows = statement.query([&name])?;
    let (mut columns, mut keys, mut nullable) = (Vec::new(), 0, false);
    let mut integer_key = false;
    while let Some(row) = rows.next()? {
        let (declared, not_null, key): (String, bool, u8) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let hidden: u8 = row.get(4)?;
        if key > 0 {
            keys += 1;
            integer_key = declared.eq_ignore_ascii_case("INTEGER");
            nullable |= !not_null && !without_rowid;
        }
        columns.push(Column { name: row.get(0)?, key, computed: hidden != 0 });
    }
    // A single INTEGER key without an index of its own is the row id and never NULL. (`INTEGER
    // PRIMARY KEY DESC` looks the same and is not.)
    let collations = key_collations(call, &name)?;
    let rowid_is_key = keys == 1 && integer_key && collations.is_empty();
    let nullable_key = nullable && !rowid_is_key;
    let loose_key = collations.iter().any(|collation| !collation.eq_ignore_ascii_case("BINARY"));
    Ok(Some(Table { name, kind, columns, nullable_key, rowid_is_key, loose_key, without_rowid }))
}

/// The collation of each column of the primary key's index; none when the key is the row id.
fn key_collations(call: &Call<'_>, table: &str) -> rusqlite::Result<Vec<String>> {
    let sql =
        "SELECT columns.coll FROM pragma_index_list(?1) AS list, pragma_index_xinfo(list.name) AS columns
               WHERE list.origin = 'pk' AND columns.key = 1";
    call.connection.prepare(sql)?.query_map([table], |row| row.get(0))?.collect()
}

/// Why a changeset could not hold this write, as far as its text tells.
pub(super) fn not_held(call: &Call<'_>, inspected: &Inspected) -> Result<Option<NotHeld>, DataError> {
    if inspected.schema {
        return Ok(Some(NotHeld::Schema));
    }
    not_held_in(call, inspected.written.iter())
}

/// Why a changeset cannot hold changes to these tables; a virtual table weighs more than a missing
/// key, which only undo minds.
pub(super) fn not_held_in<'a>(
    call: &Call<'_>,
    names: impl Iterator<Item = &'a String>,
) -> Result<Option<NotHeld>, DataError> {
    let mut keyless = None;
    for name in names {
        let Some(table) = table(call, name)? else { continue };
        match table.not_held() {
            None => {}
            // The session would take that column for the row id.
            Some(NotHeld::NoPrimaryKey { .. }) if table.hides_rowid() => {
                return Ok(Some(NotHeld::HiddenRowid { table: table.name }));
            }
            Some(reason @ NotHeld::NoPrimaryKey { .. }) => keyless = keyless.or(Some(reason)),
            Some(reason) => return Ok(Some(reason)),
        }
    }
    Ok(keyless)
}

/// A digest of the rows of a table whose key is NULL, for comparing before and after: `None` when
/// there are more of them than are worth reading.
pub(super) fn null_keys(call: &Call<'_>, table: &Table) -> Result<Option<blake3::Hash>, DataError> {
    const MOST: usize = 10_000;
    let condition: Vec<String> = table
        .columns
        .iter()
        .filter(|column| column.key > 0)
        .map(|column| format!("{} IS NULL", quoted(&column.name)))
        .collect();
    // Not `*`: generated columns are computed, at a cost that somebody else chose.
    let stored = table.columns.iter().filter(|column| !column.computed);
    let stored: Vec<String> = stored.map(|column| quoted(&column.name)).collect();
    let sql = format!(
        "SELECT _rowid_, {} FROM {} WHERE {} ORDER BY _rowid_ LIMIT {}",
        stored.join(", "),
        quoted(&table.name),
        condition.join(" OR "),
        MOST + 1
    );
    let mut statement = call.ok(call.connection.prepare(&sql))?;
    let columns = statement.column_count();
    let mut rows = call.ok(statement.query([]))?;
    let (mut hasher, mut encoded, mut count) = (blake3::Hasher::new(), Vec::new(), 0);
    while let Some(row) = call.ok(rows.next())? {
        count += 1;
        if count > MOST {
            return Ok(None);
        }
        encoded.clear();
        for column in 0..columns {
            crate::value::Value::from(call.ok(row.get_ref(column))?).encode(&mut encoded);
        }
        hasher.update(&encoded);
    }
    Ok(Some(hasher.finalize()))
}

/// An identifier for use in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
