//! What a settings file says, part by part: which parts differ from an earlier one, and where each stands.
//!
//! Owns names and places. A part is a section, or one entry of a section whose entries people name.

use std::collections::BTreeMap;

use crate::document::{Node, Value};

/// Sections whose entries people name.
const NAMED: [&str; 7] = ["providers", "models", "aliases", "routes", "limits", "databases", "secrets"];

/// The parts of a file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outline {
    parts: BTreeMap<String, Part>,
}

/// One of them.
#[derive(Debug, Clone)]
struct Part {
    /// `wflo.toml:16`.
    place: String,
    said: String,
}

/// What is another in a file.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Difference {
    pub(crate) added: Vec<String>,
    pub(crate) changed: Vec<String>,
    pub(crate) removed: Vec<String>,
}

impl Outline {
    pub(super) fn of(root: &Node) -> Outline {
        let mut outline = Outline::default();
        let Value::Table(table) = &root.value else { return outline };
        for section in &table.entries {
            match &section.node.value {
                Value::Table(entries) if NAMED.contains(&section.key.as_str()) => {
                    for entry in &entries.entries {
                        let name = format!("{}.{}", section.key, key(&entry.key));
                        outline.add(name, &entry.origin.to_string(), &entry.node);
                    }
                }
                // Limits have no names; what they count is as good.
                Value::List(limits) if section.key == "budgets" => {
                    for limit in limits {
                        let scope = match &limit.value {
                            Value::Table(limit) => limit.get("scope"),
                            _ => None,
                        };
                        let name = match scope.map(|scope| &scope.value) {
                            Some(Value::Text(scope)) => format!("budgets of the scope {scope}"),
                            _ => "budgets".to_owned(),
                        };
                        outline.add(name, &limit.origin.to_string(), limit);
                    }
                }
                _ => outline.add(key(&section.key), &section.origin.to_string(), &section.node),
            }
        }
        outline
    }

    fn add(&mut self, name: String, place: &str, node: &Node) {
        let part = self.parts.entry(name);
        let part = part.or_insert_with(|| Part { place: place.to_owned(), said: String::new() });
        write(&mut part.said, &node.value);
    }

    /// Where an entry of a section stands.
    pub(crate) fn place(&self, section: &str, name: &str) -> Option<&str> {
        self.parts.get(&format!("{section}.{}", key(name))).map(|part| part.place.as_str())
    }

    /// What has become another since `before`.
    pub(crate) fn since(&self, before: &Outline) -> Difference {
        let mut difference = Difference::default();
        for (name, part) in &self.parts {
            match before.parts.get(name) {
                None => difference.added.push(name.clone()),
                Some(old) if old.said != part.said => difference.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        let gone = before.parts.keys().filter(|name| !self.parts.contains_key(*name));
        difference.removed.extend(gone.cloned());
        difference
    }
}

/// A key as TOML has it.
fn key(text: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !text.is_empty() && text.chars().all(is_bare) { text.to_owned() } else { format!("{text:?}") }
}

/// A value without the places where it was written; equal ones are equal texts.
fn write(said: &mut String, value: &Value) {
    match value {
        Value::Null => said.push_str("null;"),
        Value::Bool(truth) => said.push_str(if *truth { "true;" } else { "false;" }),
        Value::Number(digits) => *said += &format!("{digits};"),
        Value::Text(text) | Value::Untyped(text) => *said += &format!("{text:?};"),
        Value::List(items) => {
            said.push('[');
            items.iter().for_each(|item| write(said, &item.value));
            said.push(']');
        }
        Value::Table(table) => {
            said.push('{');
            for entry in &table.entries {
                *said += &format!("{:?}=", entry.key);
                write(said, &entry.node.value);
            }
            said.push('}');
        }
    }
}

impl Difference {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Difference::default()
    }
}

/// So many of each kind are named.
const NAMED_AT_MOST: usize = 8;

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = [("added", &self.added), ("changed", &self.changed), ("removed", &self.removed)];
        let kinds = kinds.into_iter().filter(|(_, names)| !names.is_empty());
        let kinds: Vec<String> = kinds
            .map(|(what, names)| {
                let shown = names.iter().take(NAMED_AT_MOST).cloned().collect::<Vec<_>>().join(", ");
                match names.len().checked_sub(NAMED_AT_MOST) {
                    None | Some(0) => format!("{what} {shown}"),
                    Some(more) => format!("{what} {shown} and {more} more"),
                }
            })
            .collect();
        f.write_str(&kinds.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(text: &str) -> Outline {
        Outline::of(&crate::document::toml::parse("wflo.toml", text).unwrap())
    }

    const BEFORE: &str = "[budget]\nmax_cost_usd = \"5\"\n[providers.openai]\ndialect = \"openai\"\n\
        [models.\"gpt-5.1\"]\ninput = \"1\"\noutput = \"2\"\n[aliases]\nfast = \"a\"\nslow = \"b\"\n\
        [[budgets]]\nscope = \"key\"\nmax_tokens = 5\n";

    #[test]
    fn what_differs_is_named_and_what_was_only_moved_is_not() {
        let before = outline(BEFORE);
        assert!(outline(BEFORE).since(&before).is_empty());
        assert!(outline(&format!("# a comment\n\n{BEFORE}")).since(&before).is_empty());
        let after = BEFORE
            .replace("\"5\"", "\"6\"")
            .replace("input = \"1\"", "input = \"3\"")
            .replace("slow = \"b\"\n", "slower = \"b\"\n")
            + "[[budgets]]\nscope = \"org\"\nmax_tokens = 5\n[cache]\nttl_seconds = 5\n";
        let said = outline(&after).since(&before).to_string();
        assert_eq!(
            said,
            "added aliases.slower, budgets of the scope org, cache; \
             changed budget, models.\"gpt-5.1\"; removed aliases.slow"
        );
        assert_eq!(before.place("models", "gpt-5.1"), Some("wflo.toml:5"));
        assert_eq!(before.place("aliases", "slow"), Some("wflo.toml:10"));
    }

    #[test]
    fn many_names_are_cut() {
        let many: String = (0..20).map(|n| format!("[providers.p{n:02}]\ndialect = \"openai\"\n")).collect();
        let said = outline(&many).since(&Outline::default()).to_string();
        assert!(
            said.starts_with("added providers.p00, ") && said.ends_with("providers.p07 and 12 more"),
            "{said}"
        );
    }
}
