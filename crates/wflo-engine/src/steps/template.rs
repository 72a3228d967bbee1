//! `{{ inputs.x }}` and `{{ outputs.step.x }}` in prompts and commands.

use serde_json::Value;

/// Fills in a template.
///
/// # Errors
/// The expression that names nothing.
pub(super) fn fill(template: &str, inputs: &Value, outputs: &Value) -> Result<String, String> {
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
        match value {
            Value::String(text) => filled.push_str(text),
            other => filled.push_str(&other.to_string()),
        }
        rest = &after[end + 2..];
    }
    filled.push_str(rest);
    Ok(filled)
}

fn look_up<'a>(expression: &str, inputs: &'a Value, outputs: &'a Value) -> Option<&'a Value> {
    let mut parts = expression.split('.').map(str::trim);
    let mut at = match parts.next()? {
        "inputs" => inputs,
        "outputs" => outputs,
        _ => return None,
    };
    for part in parts {
        at = match at {
            Value::Array(list) => list.get(part.parse::<usize>().ok()?)?,
            other => other.get(part)?,
        };
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_are_replaced_by_values() {
        let (inputs, outputs) = (json!({"text": "hi", "n": 3}), json!({"a": {"rows": [{"id": 7}]}}));
        let filled =
            fill("{{ inputs.text }}-{{inputs.n}}: {{ outputs.a.rows.0 }}", &inputs, &outputs).unwrap();
        assert_eq!(filled, "hi-3: {\"id\":7}");
        assert!(fill("{{ inputs.missing }}", &inputs, &outputs).unwrap_err().contains("inputs.missing"));
        assert!(fill("{{ inputs", &inputs, &outputs).is_err());
    }
}
