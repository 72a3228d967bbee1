//! TOML into a [`Node`] tree.

use std::rc::Rc;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::{Entry, Kind, Node, Origin, Problem, Table, Value};

/// Parses `text`, which is shown to the user as `file`.
///
/// # Errors
/// A [`Kind::Syntax`] problem at the line where the text stops being TOML.
pub(crate) fn parse(file: &str, text: &str) -> Result<Node, Problem> {
    let source = Source { file: file.into(), text };
    match DeTable::parse(text) {
        Ok(root) => {
            let origin = source.origin(0);
            Ok(Node { value: Value::Table(source.table(root.get_ref())), origin })
        }
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            Err(Problem::new(
                Kind::Syntax,
                &source.origin(at),
                format!("this is not TOML: {}", error.message().trim()),
            ))
        }
    }
}

struct Source<'a> {
    file: Rc<str>,
    text: &'a str,
}

impl Source<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let upto = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = 1 + upto.iter().filter(|byte| **byte == b'\n').count();
        Origin::Line { file: Rc::clone(&self.file), line }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let mut entries: Vec<(usize, Entry)> = table
            .iter()
            .map(|(key, value)| {
                let at = key.span().start;
                let entry =
                    Entry { key: key.get_ref().to_string(), origin: self.origin(at), node: self.node(value) };
                (at, entry)
            })
            .collect();
        entries.sort_by_key(|(at, _)| *at);
        Table { entries: entries.into_iter().map(|(_, entry)| entry).collect() }
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        let origin = self.origin(value.span().start);
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => Value::Number(integer(number.as_str(), number.radix())),
            DeValue::Float(number) => Value::Number(number.as_str().replace('_', "")),
            DeValue::Boolean(truth) => Value::Bool(*truth),
            DeValue::Datetime(time) => Value::Text(time.to_string()),
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { value, origin }
    }
}

/// The integer's decimal digits; one that is too large for any setting stays as written.
fn integer(digits: &str, radix: u32) -> String {
    let digits = digits.replace('_', "");
    i128::from_str_radix(&digits, radix).map_or(digits, |number| number.to_string())
}
