//! Inputs that nobody declared and whose names the code does not hold: misspelt, most likely.
//!
//! Code may read any input where a workflow declares none, so nothing is refused here. Its files are read as
//! text: a name that stands in none of them is one that no line of them asks for by name.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use wflo_core::definition::{Definition, nearest};

use super::code::content_of;
use crate::discovery::Described;

/// What is said of such inputs; nothing where there are none.
pub(super) fn notice(
    tree: &Path,
    described: &Described,
    definition: &Definition,
    given: &Value,
) -> Option<String> {
    if !definition.inputs.is_empty() || !definition.has_code() {
        return None;
    }
    let given = given.as_object().filter(|given| !given.is_empty())?;
    let texts: Vec<String> = described
        .files
        .iter()
        .filter_map(|file| Some(String::from_utf8_lossy(&content_of(tree, file)?).into_owned()))
        .collect();
    let unread: Vec<&String> =
        given.keys().filter(|name| !texts.iter().any(|text| holds(text, name))).collect();
    if unread.is_empty() {
        return None;
    }
    let asked: BTreeSet<&str> = texts.iter().flat_map(|text| asked_for(text)).collect();
    let named = |name: &&String| match nearest(name, asked.iter().copied()) {
        Some(near) => format!("`{name}` (did you mean `{near}`?)"),
        None => format!("`{name}`"),
    };
    // What is declared (`Workflow(…, inputs={…})`) is checked before anything runs.
    let noun = if unread.len() == 1 { "an input" } else { "inputs" };
    Some(format!(
        "{noun} that the code names nowhere: {}; inputs that a workflow declares are checked",
        unread.iter().map(named).collect::<Vec<_>>().join(", ")
    ))
}

/// Whether a name stands there by itself, and not as a part of another.
fn holds(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// The names in `inputs["age"]`, `inputs.get('age')` and `inputs.age`.
fn asked_for(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("inputs").filter_map(|(at, found)| {
        let rest = &text[at + found.len()..];
        let quoted = ["[\"", "['", ".get(\"", ".get('"].iter().find_map(|open| {
            let rest = rest.strip_prefix(open)?;
            rest.split_once(open.chars().next_back()?).map(|(name, _)| name)
        });
        quoted.or_else(|| {
            let rest = rest.strip_prefix('.')?;
            rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().filter(|name| !name.is_empty())
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is said of `given` to a workflow of one step with this code.
    fn said(code: &str, given: &Value) -> Option<String> {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("workflow.py"), code).unwrap();
        let definition = json!({
            "name": "w",
            "steps": [{ "name": "s", "type": "agent", "handler": "code" }],
        });
        let described = Described {
            definition: definition.clone(),
            files: vec!["workflow.py".to_owned(), "../../etc/passwd".to_owned()],
            interpreter: String::new(),
        };
        notice(tree.path(), &described, &Definition::parse(&definition).unwrap(), given)
    }

    #[test]
    fn a_misspelt_name_is_said_with_the_one_that_was_meant() {
        let code = "age = context.inputs.get(\"age\", 90)\n";
        assert_eq!(said(code, &json!({ "age": 365 })), None);
        let text = said(code, &json!({ "agee": 365 })).unwrap();
        assert!(text.contains("`agee` (did you mean `age`?)"), "{text}");
        assert!(
            said("context.inputs['agee_of_x']", &json!({ "agee": 1 })).is_some(),
            "a part of a name is none"
        );
        assert!(said("context.inputs.rows", &json!({ "row": 1 })).unwrap().contains("`rows`"));
    }

    #[test]
    fn names_that_come_otherwise_are_not_judged_by_their_place() {
        assert_eq!(said("NAME = 'age'\nuse(context.inputs[NAME])", &json!({ "age": 1 })), None);
        assert_eq!(said("for name in context.inputs: ...", &json!({})), None);
    }
}
