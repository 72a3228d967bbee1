//! A run's inputs against the definition's.

use serde_json::{Map, Value};

use super::Definition;
use crate::error::{Code, Failure};

/// An input that is not there.
pub const MISSING: Code = Code(1020);
const WRONG_TYPE: Code = Code(1021);
const UNKNOWN: Code = Code(1022);
const NOT_OBJECT: Code = Code(1023);

/// Checks `given` and fills in defaults. Where nothing is declared, code may read any input, and anything
/// is taken; a definition without code reads what it declares and nothing else.
///
/// # Errors
/// Every missing, unknown or wrongly typed input.
pub fn check_inputs(definition: &Definition, given: &Value) -> Result<Value, Vec<Failure>> {
    let Some(given) = given.as_object() else {
        return Err(vec![Failure::new(NOT_OBJECT, "the inputs must be a JSON object").at("inputs")]);
    };
    if definition.inputs.is_empty() && definition.has_code() {
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
            None if definition.inputs.is_empty() => failure
                .with_hint(format!("it declares none; in its file: `inputs: {{{name}: {{type: string}}}}`")),
            None => {
                let known: Vec<&str> = definition.inputs.keys().map(String::as_str).collect();
                failure.with_hint(format!("its inputs: {}", known.join(", ")))
            }
        });
    }
    for (name, spec) in &definition.inputs {
        match (given.get(name), &spec.default) {
            (Some(value), _) => {
                if let Some(kind) = spec.kind.as_deref().filter(|kind| !fits(value, kind)) {
                    let article = if kind.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
                    let message = format!("input `{name}` must be {article} {kind}, not {}", what(value));
                    let failure = Failure::new(WRONG_TYPE, message).at(format!("inputs.{name}"));
                    problems.push(match kind {
                        // What looks like JSON is taken as JSON.
                        "string" => failure.with_hint(format!("as text: `--input '{name}=\"…\"'`")),
                        _ => failure,
                    });
                }
            }
            (None, Some(default)) => {
                filled.insert(name.clone(), default.clone());
            }
            (None, None) if spec.required => {
                let failure = Failure::new(MISSING, format!("input `{name}` is required"));
                problems.push(
                    failure.at(format!("inputs.{name}")).with_hint(format!("`wflo run --input {name}=…`")),
                );
            }
            (None, None) => {}
        }
    }
    if problems.is_empty() { Ok(Value::Object(filled)) } else { Err(problems) }
}

/// A value's type, for people: what it holds may be no one else's to read.
fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn codes(definition: &Value, given: &Value) -> Vec<(String, Option<String>)> {
        let definition = Definition::parse(definition).unwrap();
        let failures = check_inputs(&definition, given).err().unwrap_or_default();
        failures.into_iter().map(|failure| (failure.code, failure.hint)).collect()
    }

    fn code(inputs: &Value) -> Value {
        json!({ "name": "w", "inputs": inputs, "steps": [{ "name": "s", "type": "agent", "handler": "code" }] })
    }

    #[test]
    fn what_is_declared_is_checked_by_name_and_type() {
        let declared =
            code(&json!({ "age": { "type": "integer", "required": true }, "who": { "type": "string" } }));
        let said = |given: Value| codes(&declared, &given);
        assert_eq!(said(json!({ "age": 3 })), []);
        assert_eq!(said(json!({ "age": "3" })), [("WFLO-1021".to_owned(), None)]);
        let near = Some("did you mean `age`?".to_owned());
        assert_eq!(said(json!({ "age": 3, "agee": 3 })), [("WFLO-1022".to_owned(), near)]);
        let known = Some("its inputs: age, who".to_owned());
        assert_eq!(said(json!({ "age": 3, "nothing_like_it": 3 })), [("WFLO-1022".to_owned(), known)]);
        let missing = Some("`wflo run --input age=…`".to_owned());
        assert_eq!(said(json!({})), [("WFLO-1020".to_owned(), missing)]);
        let text = said(json!({ "age": 3, "who": 365 })).remove(0).1.unwrap();
        assert!(text.contains("'who=\"…\"'"), "{text}");
    }

    #[test]
    fn code_that_declares_nothing_takes_anything_and_a_written_workflow_nothing() {
        assert_eq!(codes(&code(&json!({})), &json!({ "age": 3 })), []);
        let written = json!({ "name": "w", "steps": [{ "name": "s", "type": "tool", "run": ["true"] }] });
        assert_eq!(codes(&written, &json!({})), []);
        let refused = codes(&written, &json!({ "age": 3 }));
        assert_eq!(refused[0].0, "WFLO-1022");
    }
}
