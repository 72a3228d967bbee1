//! The environment, read once, and `WFLO_…__…` variables laid over the settings file.
//!
//! A variable is a setting when its name has `__`: `WFLO_PROVIDERS__LOCAL__BASE_URL` is
//! `providers.local.base_url`. Other `WFLO_` names are flags' (`WFLO_DATA_DIR`) or the SDK's.

use std::collections::BTreeMap;

use crate::document::{Entry, Kind, Node, Origin, Problem, Table, Value};

const PREFIX: &str = "WFLO_";

/// A copy of the process's environment; names and values that are not UTF-8 are left out.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<String, String>,
}

// Values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

impl Environment {
    /// The process's environment.
    pub(crate) fn capture() -> Self {
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Environment { variables: std::env::vars_os().filter_map(utf8).collect() }
    }

    /// All of it, as a program gets it.
    pub(crate) fn all(&self) -> BTreeMap<std::ffi::OsString, std::ffi::OsString> {
        self.variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Environment { variables: variables.iter().map(own).collect() }
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Lays the variables over the tree of a settings file.
    pub(super) fn overlay(&self, root: &mut Node) -> Result<(), Problem> {
        for (name, value) in &self.variables {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let keys: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
            if keys.len() < 2 {
                continue;
            }
            let origin = Origin::Variable(name.clone());
            if keys.iter().any(String::is_empty) {
                return Err(Problem::new(Kind::UnknownKey, &origin, "a part of its name is empty")
                    .hint("write WFLO_TABLE__KEY, for example WFLO_BUDGET__MAX_COST_USD=5"));
            }
            put(root, &keys, value, &origin)?;
        }
        Ok(())
    }
}

fn put(node: &mut Node, keys: &[String], value: &str, origin: &Origin) -> Result<(), Problem> {
    let Some((first, rest)) = keys.split_first() else {
        *node = Node { value: Value::Untyped(value.to_owned()), origin: origin.clone() };
        return Ok(());
    };
    let Value::Table(table) = &mut node.value else {
        return Err(Problem::new(Kind::UnknownKey, origin, "it names a key below a value that has none"));
    };
    let at = table.entries.iter().position(|entry| same(&entry.key, first));
    let index = at.unwrap_or_else(|| {
        let node = Node { value: Value::Table(Table::default()), origin: origin.clone() };
        table.entries.push(Entry { key: first.clone(), origin: origin.clone(), node });
        table.entries.len() - 1
    });
    put(&mut table.entries[index].node, rest, value, origin)
}

/// A variable's name has only letters, digits and `_`: `smollm2_135m` is the key `smollm2-135m`.
fn same(key: &str, variable: &str) -> bool {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    key.chars().map(plain).eq(variable.chars())
}
