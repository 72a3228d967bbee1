//! What a request says of thinking, to a server that may count thoughts beside the limit of its answer.
//!
//! Owns reading it. At their own addresses providers keep thoughts within the limit that the request states.
//! Other servers need not: some write as many thoughts as their budget allows and then the answer, some
//! raise the limit by the budget. So a budget is added to the limit there, and thinking without one has the
//! model's window for its end.

use super::json::{BodyError, Fields};

/// How much thinking a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Thoughts {
    /// None, as far as it says.
    #[default]
    Unasked,
    /// At most this many tokens.
    Budget(u64),
    /// As many as the server likes.
    Unbounded,
}

/// Fields by which some server is told to think.
pub(super) const FIELDS: [&str; 9] = [
    "reasoning_effort",
    "reasoning",
    "reasoning_budget",
    "include_reasoning",
    "thinking",
    "thinking_budget",
    "enable_thinking",
    "chat_template_kwargs",
    "output_config",
];

/// Names of a budget inside them.
const BUDGETS: [&str; 5] =
    ["budget_tokens", "max_tokens", "thinking_budget", "token_budget", "reasoning_budget"];

/// What inside them switches thinking on, and says nothing of how much.
const SWITCHES: [&str; 3] = ["type", "enabled", "enable_thinking"];

/// What inside them says how thoughts are shown, or how an answer is written.
const HARMLESS: [&str; 7] =
    ["exclude", "summary", "generate_summary", "display", "clear_thinking", "keep", "format"];

/// The most that any of the fields asks for.
pub(super) fn read(fields: &Fields<'_>) -> Result<Thoughts, BodyError> {
    fields.refuse_other_spellings(&FIELDS)?;
    let mut most = Thoughts::Unasked;
    for field in FIELDS.iter().filter_map(|name| fields.get(name)) {
        most = most.max(match field.value.as_bytes().first() {
            Some(b'{') => object(&Fields::read(field.value.as_bytes())?),
            _ if field.name.ends_with("budget") => budget(field.value),
            _ => plain(field.value),
        });
    }
    Ok(most)
}

/// Of `{"type": "enabled", "budget_tokens": 9}` and its like. What is not known inside may mean anything.
fn object(inner: &Fields<'_>) -> Thoughts {
    let (mut on, mut most) = (Thoughts::Unasked, Thoughts::Unasked);
    for field in inner.iter() {
        if BUDGETS.contains(&field.name.as_str()) {
            most = most.max(budget(field.value));
        } else if SWITCHES.contains(&field.name.as_str()) {
            on = on.max(plain(field.value));
        } else if !HARMLESS.contains(&field.name.as_str()) && plain(field.value) != Thoughts::Unasked {
            return Thoughts::Unbounded;
        }
    }
    // A budget bounds what is switched on beside it.
    if most == Thoughts::Unasked { on } else { most }
}

fn budget(value: &str) -> Thoughts {
    match value.parse::<i64>() {
        Ok(0) => Thoughts::Unasked,
        Ok(tokens) => u64::try_from(tokens).map_or(Thoughts::Unbounded, Thoughts::Budget),
        Err(_) => plain(value),
    }
}

/// A switch, or a word for how much.
fn plain(value: &str) -> Thoughts {
    let off = matches!(value, "null" | "false" | "\"none\"" | "\"off\"" | "\"disabled\"" | "{}");
    if off { Thoughts::Unasked } else { Thoughts::Unbounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(field: &str) -> Thoughts {
        read(&Fields::read(format!("{{{field}}}").as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_budget_counts_and_what_has_none_is_without_end() {
        for off in [
            r#""messages":[]"#,
            r#""thinking":null"#,
            r#""thinking":{"type":"disabled"}"#,
            r#""reasoning_effort":"none""#,
            r#""enable_thinking":false"#,
            r#""chat_template_kwargs":{"enable_thinking":false}"#,
            r#""thinking_budget":0"#,
            r#""reasoning":{"summary":"auto","exclude":true}"#,
            r#""output_config":{"format":{"type":"json_schema"}}"#,
        ] {
            assert_eq!(of(off), Thoughts::Unasked, "{off}");
        }
        for budget in [
            r#""thinking":{"type":"enabled","budget_tokens":9}"#,
            r#""reasoning":{"max_tokens":9,"exclude":false}"#,
            r#""thinking_budget":9"#,
            r#""chat_template_kwargs":{"enable_thinking":true,"thinking_budget":9}"#,
            r#""reasoning_budget":9,"thinking":{"budget_tokens":3}"#,
        ] {
            assert_eq!(of(budget), Thoughts::Budget(9), "{budget}");
        }
        for open in [
            r#""enable_thinking":true"#,
            r#""enable_thinking":true,"thinking_budget":9"#,
            r#""thinking":{"type":"enabled"}"#,
            r#""thinking":{"type":"adaptive"}"#,
            r#""thinking":{"budget_tokens":9,"unheard_of":1}"#,
            r#""thinking":{"budget_tokens":-1}"#,
            r#""thinking":{"budget_tokens":9.5}"#,
            r#""thinking":"on""#,
            r#""reasoning":{"effort":"high","max_tokens":9}"#,
            r#""reasoning_effort":"low""#,
            r#""reasoning_effort":"n\u006fne!""#,
            r#""chat_template_kwargs":{"reasoning_effort":"high"}"#,
            r#""output_config":{"effort":"high"}"#,
        ] {
            assert_eq!(of(open), Thoughts::Unbounded, "{open}");
        }
        let other = Fields::read(br#"{"Thinking":{}}"#).unwrap();
        assert!(read(&other).is_err());
    }
}
