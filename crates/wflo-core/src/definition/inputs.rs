//! A run's inputs against the definition's.

use serde_json::{Map, Value};

use super::Definition;
use crate::error::{Code, Failure};

const MISSING: Code = Code(1020);
const WRONG_TYPE: Code = Code(1021);
const UNKNOWN: Code = Code(1022);
const NOT_OBJECT: Code = Code(1023);

/// Checks `given` and fills in defaults. A definition without declared inputs takes anything.
///
/// # Errors
/// Every missing, unknown or wrongly typed input.
pub fn check_inputs(definition: &Definition, given: &Value) -> Result<Value, Vec<Failure>> {
    let Some(given) = given.as_object() else {
        return Err(vec![Failure::new(NOT_OBJECT, "the inputs must be a JSON object").at("inputs")]);
    };
    if definition.inputs.is_empty() {
        return Ok(Value::Object(given.clone()));
    }
    let mut problems = Vec::new();
    let mut filled: Map<String, Value> = given.clone();
    for name in given.keys().filter(|name| !definition.inputs.contains_key(*name)) {
        let near = nearest(name, definition.inputs.keys().map(String::as_str));
        let failure = Failure::new(UNKNOWN, format!("`{name}` is not an input of this workflow"))
            .at(format!("inputs.{name}"));
        problems.push(match near {
            Some(near) => failure.with_hint(format!("did you mean `{near}`?")),
            None => failure,
        });
    }
    for (name, spec) in &definition.inputs {
        match (given.get(name), &spec.default) {
            (Some(value), _) => {
                if let Some(kind) = spec.kind.as_deref().filter(|kind| !fits(value, kind)) {
                    let message = format!("input `{name}` must be a {kind}");
                    problems.push(Failure::new(WRONG_TYPE, message).at(format!("inputs.{name}")));
                }
            }
            (None, Some(default)) => {
                filled.insert(name.clone(), default.clone());
            }
            (None, None) if spec.required => {
                let failure = Failure::new(MISSING, format!("input `{name}` is required"));
                problems
                    .push(failure.at(format!("inputs.{name}")).with_hint(format!("add --input {name}=…")));
            }
            (None, None) => {}
        }
    }
    if problems.is_empty() { Ok(Value::Object(filled)) } else { Err(problems) }
}

fn fits(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

/// The known name that `name` was most likely meant to be.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|k| (strsim::damerau_levenshtein(name, k), k))
        .filter(|(distance, k)| *distance <= 1 + k.len() / 4)
        .min()
        .map(|(_, k)| k)
}
