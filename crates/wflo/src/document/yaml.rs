//! YAML into a [`Node`] tree, by the core schema (`yes` is text, `true` is a truth value).

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::{Entry, Kind, Node, Origin, Problem, Table, Value};

/// How many values one file may hold, aliases counted in full: an alias of aliases grows without
/// bound ("billion laughs").
const MOST_NODES: usize = 100_000;
/// How deeply values may nest.
const MOST_DEPTH: usize = 64;

/// Parses `text`, which is shown to the user as `file`.
///
/// # Errors
/// A [`Kind::Syntax`] problem at the line where the text stops being one YAML document.
pub(crate) fn parse(file: &str, text: &str) -> Result<Node, Problem> {
    let mut builder =
        Builder { file: file.into(), open: Vec::new(), anchors: HashMap::new(), root: None, nodes: 0 };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => builder.accept(&event, span.start)?,
            Err(error) => {
                return Err(builder.problem(*error.marker(), format!("this is not YAML: {}", error.info())));
            }
        }
    }
    let empty = Marker::new(0, 1, 0);
    builder.root.take().ok_or_else(|| builder.problem(empty, "the file is empty".to_owned()))
}

/// A list or a table whose end has not come yet.
struct Open {
    anchor: usize,
    node: Node,
    /// The key that waits for its value.
    key: Option<(String, Origin)>,
}

struct Builder {
    file: Rc<str>,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    root: Option<Node>,
    nodes: usize,
}

impl Builder {
    fn origin(&self, mark: Marker) -> Origin {
        Origin::Line { file: Rc::clone(&self.file), line: mark.line().max(1) }
    }

    fn problem(&self, mark: Marker, message: String) -> Problem {
        Problem::new(Kind::Syntax, &self.origin(mark), message)
    }

    fn accept(&mut self, event: &Event<'_>, mark: Marker) -> Result<(), Problem> {
        let origin = self.origin(mark);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = match (style, tag) {
                    (ScalarStyle::Plain, None) => plain(text),
                    _ => Value::Text(text.to_string()),
                };
                self.count(1, mark)?;
                self.place(Node { value, origin }, *anchor, 1, mark)
            }
            Event::SequenceStart(anchor, _) => self.begin(Value::List(Vec::new()), *anchor, origin, mark),
            Event::MappingStart(anchor, _) => {
                self.begin(Value::Table(Table::default()), *anchor, origin, mark)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => {
                    let size = size(&open.node);
                    self.place(open.node, open.anchor, size, mark)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => match self.anchors.get(anchor).cloned() {
                Some((node, size)) => {
                    self.count(size, mark)?;
                    self.place(node, 0, size, mark)
                }
                None => Err(self.problem(mark, "this alias names no anchor above it".to_owned())),
            },
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(self.problem(mark, "a second document begins here; one file holds one".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, value: Value, anchor: usize, origin: Origin, mark: Marker) -> Result<(), Problem> {
        self.count(1, mark)?;
        if self.open.len() >= MOST_DEPTH {
            return Err(self.problem(mark, format!("values nest deeper than {MOST_DEPTH} levels")));
        }
        self.open.push(Open { anchor, node: Node { value, origin }, key: None });
        Ok(())
    }

    fn count(&mut self, more: usize, mark: Marker) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > MOST_NODES {
            return Err(self.problem(mark, format!("the file holds more than {MOST_NODES} values")));
        }
        Ok(())
    }

    /// Puts a finished value where it belongs: root, list item, key, or a key's value.
    fn place(&mut self, node: Node, anchor: usize, size: usize, mark: Marker) -> Result<(), Problem> {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut parent.node.value, parent.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Table(table), Some((key, origin))) => table.entries.push(Entry { key, origin, node }),
            (Value::Table(table), None) => match key_text(&node) {
                Some(key) if table.get(&key).is_some() => {
                    return Err(self.problem(mark, format!("the key `{key}` is written twice")));
                }
                Some(key) => parent.key = Some((key, node.origin)),
                None => return Err(self.problem(mark, "a key must be plain text".to_owned())),
            },
            _ => {}
        }
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Table(table) => 1 + table.entries.iter().map(|entry| size(&entry.node)).sum::<usize>(),
        _ => 1,
    }
}

fn key_text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) | Value::Number(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// A plain scalar by the YAML 1.2 core schema, section 10.3.2; only decimal numbers are numbers.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if is_number(text) => Value::Number(text.strip_prefix('+').unwrap_or(text).to_owned()),
        _ => Value::Text(text.to_owned()),
    }
}

fn is_number(text: &str) -> bool {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    body.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && body.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'))
        && body.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(node: &Node) -> String {
        node.origin.to_string()
    }

    #[test]
    fn every_value_knows_its_line() {
        let root =
            parse("f.yaml", "name: a\nsteps:\n  - {name: x,\n     when: true}\n  - name: y\n").unwrap();
        let Value::Table(table) = &root.value else { panic!() };
        let Value::List(steps) = &table.get("steps").unwrap().value else { panic!() };
        assert_eq!(at(&steps[0]), "f.yaml:3");
        assert_eq!(at(&steps[1]), "f.yaml:5");
        let Value::Table(first) = &steps[0].value else { panic!() };
        assert_eq!(first.entries[1].origin.to_string(), "f.yaml:4");
        assert!(matches!(first.entries[1].node.value, Value::Bool(true)));
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        let shown = |text: &str| format!("{:?}", plain(text));
        assert_eq!(shown("yes"), r#"Text("yes")"#);
        assert_eq!(shown("1.50"), r#"Number("1.50")"#);
        assert_eq!(shown("1h"), r#"Text("1h")"#);
        assert_eq!(shown("1-2"), r#"Text("1-2")"#);
        assert_eq!(shown("~"), "Null");
    }

    #[test]
    fn a_quoted_number_is_text() {
        let root = parse("f.yaml", "cost: \"5.00\"").unwrap();
        let Value::Table(table) = &root.value else { panic!() };
        assert!(matches!(&table.get("cost").unwrap().value, Value::Text(text) if text == "5.00"));
    }

    #[test]
    fn aliases_cannot_grow_without_bound() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let before = format!("*a{}", level - 1);
            let items = vec![before; 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        assert!(parse("f.yaml", &text).unwrap_err().message.contains("more than"));
    }

    #[test]
    fn broken_files_say_where() {
        for (text, line) in [("a: [1,\nb: 2", 2), ("a: 1\na: 2", 2), ("a: 1\n---\nb: 2", 2), ("", 1)] {
            let problem = parse("f.yaml", text).unwrap_err();
            assert_eq!(problem.kind, Kind::Syntax);
            assert_eq!(problem.origin.to_string(), format!("f.yaml:{line}"), "{text}: {problem}");
        }
        assert!(parse("f.yaml", &"[".repeat(1000)).is_err());
    }
}
