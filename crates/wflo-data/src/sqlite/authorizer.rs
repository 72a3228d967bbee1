//! Judges what a statement wants to do, while SQLite compiles it.
//!
//! Owns the list of what is allowed. Everything else is denied: an action that a later SQLite adds
//! is not known here and so is refused. The authorizer stays on while the statement runs, because
//! SQLite compiles again when the schema changed, and because virtual tables compile their own.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::class::Refusal;

/// PRAGMAs that only read, and whose value, if they take one, is a name.
const PRAGMAS_WITH_NAME: &[&str] = &[
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// PRAGMAs that read without a value and would set something with one. `database_list` is not
/// among them: it tells the file's path.
const PRAGMAS_WITHOUT_VALUE: &[&str] = &[
    "application_id",
    "collation_list",
    "compile_options",
    "data_version",
    "encoding",
    "foreign_keys",
    "freelist_count",
    "function_list",
    "page_count",
    "page_size",
    "schema_version",
    "user_version",
];

/// Modules whose tables a statement may create. All are part of this build and known harmless.
const MODULES: &[&str] = &["fts3", "fts4", "fts5", "rtree"];

/// Functions that reach outside the database.
const FUNCTIONS_DENIED: &[&str] = &["load_extension", "fts3_tokenizer"];

/// Functions whose time grows with the product of their arguments' lengths: on two long texts one
/// call takes hours.
const FUNCTIONS_SLOW: &[&str] = &["instr", "replace", "trim", "ltrim", "rtrim", "json_patch", "jsonb_patch"];

/// What was seen while a statement was compiled.
#[derive(Debug, Default, Clone)]
pub(super) struct Observed {
    /// The first thing that was denied.
    pub refusal: Option<Refusal>,
    /// Tables that it may insert into, update or delete from.
    pub written: BTreeSet<String>,
    /// A table of SQLite's own that it writes. Changes of the schema do so; nothing else may, which
    /// is known only once the whole statement was seen.
    pub system: Option<String>,
    /// Whether it changes the schema.
    pub schema: bool,
    /// Whether it calls a function whose time has no good bound.
    pub slow: bool,
    /// In how many places it calls a function, views and triggers included.
    pub functions: usize,
    /// Whether it defines a table or an index: their constraints and generated columns are compiled
    /// later, and then without asking.
    pub defines: bool,
    /// The table that the statement itself inserts into, not its triggers.
    pub inserted: Option<String>,
}

/// A connection's authorizer, installed once. It judges while a [`Watch`] is on; wflo's own
/// statements run without one.
#[derive(Debug, Default)]
pub(super) struct Sentry(Arc<Mutex<Option<Observed>>>);

impl Sentry {
    /// Installs the authorizer.
    pub(super) fn install(connection: &mut Connection) -> rusqlite::Result<Self> {
        let sentry = Sentry::default();
        let observed = Arc::clone(&sentry.0);
        connection.authorizer(Some(move |context: AuthContext<'_>| match lock(&observed).as_mut() {
            Some(observed) => judge(&context, observed),
            None => Authorization::Allow,
        }))?;
        Ok(sentry)
    }
}

/// The authorizer is on for as long as this lives.
pub(super) struct Watch<'call>(&'call Sentry);

impl<'call> Watch<'call> {
    /// Turns the authorizer on.
    pub(super) fn start(sentry: &'call Sentry) -> Self {
        *lock(&sentry.0) = Some(Observed::default());
        Watch(sentry)
    }

    /// What was seen so far.
    pub(super) fn observed(&self) -> Observed {
        lock(&self.0.0).clone().unwrap_or_default()
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        *lock(&self.0.0) = None;
    }
}

fn lock(observed: &Mutex<Option<Observed>>) -> MutexGuard<'_, Option<Observed>> {
    observed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a name is wflo's own. SQL identifiers cannot be escaped, so their text is what it is.
pub(super) fn is_reserved(name: &str) -> bool {
    name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("_wflo_"))
}

/// The slow function that a text calls, if any. Function names have no escapes either; a quote or a
/// comment may stand before the parenthesis.
pub(super) fn slow_call(sql: &str) -> Option<&'static str> {
    let sql = sql.to_ascii_lowercase();
    FUNCTIONS_SLOW.iter().copied().find(|name| {
        sql.match_indices(name).any(|(at, _)| {
            let before = sql[..at].chars().next_back();
            let after = &sql[at + name.len()..];
            let whole = !before.is_some_and(|c| c.is_alphanumeric() || c == '_');
            whole && first_token(after.trim_start_matches(['"', '`', ']', '\''])).starts_with('(')
        })
    })
}

/// What follows spaces and comments.
pub(super) fn first_token(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\u{feff}');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else {
            return rest;
        }
    }
}

/// Whether a name is SQLite's own.
pub(super) fn is_system(name: &str) -> bool {
    name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_"))
}

fn is_schema_table(name: &str) -> bool {
    ["sqlite_master", "sqlite_schema"].iter().any(|table| name.eq_ignore_ascii_case(table))
}

fn judge(context: &AuthContext<'_>, observed: &mut Observed) -> Authorization {
    match verdict(context, observed) {
        Ok(()) => Authorization::Allow,
        Err(refusal) => {
            observed.refusal.get_or_insert(refusal);
            Authorization::Deny
        }
    }
}

fn verdict(context: &AuthContext<'_>, observed: &mut Observed) -> Result<(), Refusal> {
    use AuthAction as Action;
    let own = |name: &str| match is_reserved(name) {
        true => Err(Refusal::Reserved { name: name.to_owned() }),
        false => Ok(()),
    };
    let defines = matches!(
        context.action,
        Action::CreateTable { .. } | Action::CreateIndex { .. } | Action::AlterTable { .. }
    );
    observed.defines |= defines;
    let mut schema = |names: &[&str]| {
        observed.schema = true;
        for name in names {
            own(name)?;
            // What ANALYZE makes, and automatic indexes, which go with their table. SQLite itself
            // lets nobody create such names.
            let by_itself = ["sqlite_autoindex_", "sqlite_stat"].iter().any(|start| name.starts_with(start));
            if is_system(name) && !by_itself && !is_schema_table(name) {
                return Err(Refusal::System { name: (*name).to_owned() });
            }
        }
        Ok(())
    };
    match context.action {
        Action::Select | Action::Recursive => Ok(()),
        Action::Read { table_name, .. } => own(table_name),
        Action::Insert { table_name } => {
            if context.accessor.is_none() {
                observed.inserted = Some(table_name.to_owned());
            }
            write(table_name, observed)
        }
        Action::Update { table_name, .. } | Action::Delete { table_name } => write(table_name, observed),
        Action::Function { function_name } => {
            let listed = |list: &[&str]| list.iter().any(|name| function_name.eq_ignore_ascii_case(name));
            observed.slow |= listed(FUNCTIONS_SLOW);
            observed.functions += 1;
            match listed(FUNCTIONS_DENIED) {
                true => Err(Refusal::Function { function: function_name.to_owned() }),
                false => Ok(()),
            }
        }
        Action::CreateTable { table_name } | Action::DropTable { table_name } => schema(&[table_name]),
        Action::AlterTable { table_name, .. } => schema(&[table_name]),
        Action::CreateIndex { index_name, table_name } | Action::DropIndex { index_name, table_name } => {
            schema(&[index_name, table_name])
        }
        Action::CreateTrigger { trigger_name, table_name }
        | Action::DropTrigger { trigger_name, table_name } => schema(&[trigger_name, table_name]),
        Action::CreateView { view_name } | Action::DropView { view_name } => schema(&[view_name]),
        // Of the whole database, wflo's own table included; that does it no harm.
        Action::Reindex { .. } | Action::Analyze { .. } => {
            observed.schema = true;
            Ok(())
        }
        Action::CreateVtable { table_name, module_name } => {
            schema(&[table_name])?;
            match MODULES.iter().any(|module| module_name.eq_ignore_ascii_case(module)) {
                true => Ok(()),
                false => Err(Refusal::Module { module: module_name.to_owned() }),
            }
        }
        Action::DropVtable { table_name, .. } => schema(&[table_name]),
        Action::Pragma { pragma_name, pragma_value } => pragma(pragma_name, pragma_value),
        Action::Transaction { operation } => {
            Err(Refusal::Transaction { statement: format!("{operation:?}").to_uppercase() })
        }
        Action::Savepoint { .. } => Err(Refusal::Transaction { statement: "SAVEPOINT".to_owned() }),
        Action::Attach { .. } | Action::Detach { .. } => Err(Refusal::Attach),
        Action::CreateTempIndex { .. }
        | Action::CreateTempTable { .. }
        | Action::CreateTempTrigger { .. }
        | Action::CreateTempView { .. }
        | Action::DropTempIndex { .. }
        | Action::DropTempTable { .. }
        | Action::DropTempTrigger { .. }
        | Action::DropTempView { .. } => Err(Refusal::Temporary),
        ref unknown => Err(Refusal::Unknown { action: format!("{unknown:?}") }),
    }
}

/// A write to the rows of a table. SQLite itself refuses statements that name its schema table
/// (DEFENSIVE); what gets here is its own bookkeeping of a schema change.
fn write(table: &str, observed: &mut Observed) -> Result<(), Refusal> {
    if is_reserved(table) {
        return Err(Refusal::Reserved { name: table.to_owned() });
    }
    if is_schema_table(table) {
        return Ok(());
    }
    if is_system(table) {
        observed.system.get_or_insert(table.to_owned());
    } else {
        observed.written.insert(table.to_owned());
    }
    Ok(())
}

fn pragma(name: &str, value: Option<&str>) -> Result<(), Refusal> {
    let listed = |list: &[&str]| list.iter().any(|known| name.eq_ignore_ascii_case(known));
    if let Some(table) = value.filter(|value| is_reserved(value)) {
        return Err(Refusal::Reserved { name: table.to_owned() });
    }
    if listed(PRAGMAS_WITH_NAME) || (value.is_none() && listed(PRAGMAS_WITHOUT_VALUE)) {
        return Ok(());
    }
    Err(Refusal::Pragma { pragma: name.to_owned() })
}
