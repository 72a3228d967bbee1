//! `{{ inputs.x }}` and `{{ outputs.step.x }}` in prompts and commands.

use std::borrow::Cow;

use serde_json::Value;
use wflo_core::machine::{Outputs, object_of};

/// Fills in a template.
///
/// # Errors
/// The expression that names nothing.
pub(super) fn fill(template: &str, inputs: &Value, outputs: &Outputs) -> Result<String, String> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{{") {
        filled.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        let Some(end) = after.find("}}") else {
            return Err("`{{` without `}}`".to_owned());
        };
        let expression = after[..end].trim();
        let value =
            look_up(expression, inputs, outputs).ok_or_else(|| format!("`{expression}` names nothing"))?;
        match value.as_ref() {
            Value::String(text) => filled.push_str(text),
            other => filled.push_str(&other.to_string()),
        }
        rest = &after[end + 2..];
    }
    filled.push_str(rest);
    Ok(filled)
}

fn look_up<'a>(expression: &str, inputs: &'a Value, outputs: &'a Outputs) -> Option<Cow<'a, Value>> {
    let mut parts = expression.split('.').map(str::trim);
    let mut at: &Value = match parts.next()? {
        "inputs" => inputs,
        "outputs" => match parts.next() {
            Some(step) => outputs.get(step)?.as_ref(),
            None => return Some(Cow::Owned(object_of(outputs))),
        },
        _ => return None,
    };
    for part in parts {
        at = match at {
            Value::Array(list) => list.get(part.parse::<usize>().ok()?)?,
            other => other.get(part)?,
        };
    }
    Some(Cow::Borrowed(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_are_replaced_by_values() {
        let inputs = json!({"text": "hi", "n": 3});
        let outputs = Outputs::from([("a".to_owned(), json!({"rows": [{"id": 7}]}).into())]);
        let filled =
            fill("{{ inputs.text }}-{{inputs.n}}: {{ outputs.a.rows.0 }}", &inputs, &outputs).unwrap();
        assert_eq!(filled, "hi-3: {\"id\":7}");
        assert_eq!(fill("{{ outputs }}", &inputs, &outputs).unwrap(), r#"{"a":{"rows":[{"id":7}]}}"#);
        assert!(fill("{{ inputs.missing }}", &inputs, &outputs).unwrap_err().contains("inputs.missing"));
        assert!(fill("{{ inputs", &inputs, &outputs).is_err());
    }
}
