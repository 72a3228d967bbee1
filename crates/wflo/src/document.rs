//! A parsed TOML or YAML file whose every key and value knows where it was written.
//!
//! Owns the tree and the typed reading of it; what the keys mean belongs to `settings` and
//! `definition`. It must not know any key by name.
//! **Architecture Invariant:** a number keeps the digits that were written, so that money never
//! passes through binary floating point; and a key that nobody asked for is an error.

mod problem;
mod reader;
pub(crate) mod toml;
pub(crate) mod yaml;

pub(crate) use problem::{Kind, Problem};
pub(crate) use reader::{Field, Reader, nearest};

use std::rc::Rc;

/// Where a key or a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A line of a file; lines count from 1.
    Line {
        /// The file as it is shown to the user.
        file: Rc<str>,
        /// The line's number.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Line { file, line } => write!(f, "{file}:{line}"),
            Origin::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// One value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// A value of either format.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// The digits as written, without digit separators.
    Number(String),
    Text(String),
    /// Text of an environment variable: read as whatever type is asked for.
    Untyped(String),
    List(Vec<Node>),
    Table(Table),
}

impl Value {
    /// What a person calls this kind of value.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "true/false",
            Value::Number(_) => "a number",
            Value::Text(_) | Value::Untyped(_) => "text",
            Value::List(_) => "a list",
            Value::Table(_) => "a table of keys",
        }
    }
}

/// Keys and values in the order they were written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

/// One key of a [`Table`].
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) origin: Origin,
    pub(crate) node: Node,
}

impl Table {
    /// The value under this key.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }
}
