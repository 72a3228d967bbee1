//! Under which names the map may know a model.
//!
//! Owns the order in which they are tried, which is that of the map's own project (`get_model_info` and
//! its helpers): the provider's name before the model's, the name as it is before the name without its
//! date, region or route.

use std::borrow::Cow;

/// Whether an entry of `entry` prices what `provider` serves: some providers' entries are under several
/// names.
pub(super) fn serves(provider: &str, entry: &str) -> bool {
    let family = |name: &str| provider.starts_with(name) && entry.starts_with(name);
    provider == entry
        || entry.is_empty()
        || family("vertex_ai")
        || family("fireworks_ai")
        || family("cohere")
        || family("bedrock") && provider != "bedrock_mantle" && entry != "bedrock_mantle"
        || matches!((provider, entry), ("openai", "text-completion-openai") | ("azure", "azure_text"))
        || provider == "azure_ai" && matches!(entry, "azure" | "openai")
}

/// The provider that an entry's provider is a part of.
pub(super) fn family(entry: &str) -> &str {
    for whole in ["vertex_ai", "fireworks_ai", "cohere"] {
        if entry.starts_with(whole) {
            return whole;
        }
    }
    match entry {
        "bedrock_converse" => "bedrock",
        "text-completion-openai" => "openai",
        "azure_text" => "azure",
        other => other,
    }
}

/// The map's name of a provider.
pub(super) fn canonical(provider: &str) -> &str {
    match provider {
        "google" => "gemini",
        "vertex_ai_beta" => "vertex_ai",
        other => other,
    }
}

/// The names to try, in this order.
pub(super) fn candidates<'a>(provider: &str, model: &'a str) -> Vec<Cow<'a, str>> {
    let own = model.strip_prefix(provider).and_then(|rest| rest.strip_prefix('/'));
    let split = match provider {
        "bedrock" | "bedrock_converse" => bedrock(own.unwrap_or(model)),
        _ => own.unwrap_or(model),
    };
    let combined = match own {
        Some(_) => Cow::Borrowed(model),
        None => Cow::Owned(format!("{provider}/{model}")),
    };
    let stripped = stripped(provider, own.unwrap_or(model));
    vec![
        combined,
        Cow::Borrowed(model),
        Cow::Borrowed(split),
        Cow::Owned(format!("{provider}/{stripped}")),
        stripped,
        Cow::Owned(format!("{provider}/{model}")),
    ]
}

/// A Bedrock model without the way that leads to it.
fn bedrock(model: &str) -> &str {
    let model = routed(model);
    match model.split_once('/') {
        Some((region, id)) if is_region(region) => id,
        _ if model.starts_with("arn:") => model.rsplit('/').next().unwrap_or(model),
        _ => model,
    }
}

fn routed(mut model: &str) -> &str {
    let ways =
        ["bedrock/", "chat_completions/", "converse/", "invoke/", "openai/", "mantle/", "nova-2/", "nova/"];
    for way in ways {
        model = model.strip_prefix(way).unwrap_or(model);
    }
    model
}

/// `us-east-1`, `us-gov-west-1`, `ap-northeast-2` …
fn is_region(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let letters = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.len() >= 3 && parts.iter().rev().skip(1).all(letters) && parts.last().is_some_and(digits)
}

/// The name without what tells one copy of a model from the next.
fn stripped<'a>(provider: &str, model: &'a str) -> Cow<'a, str> {
    match provider {
        "bedrock" | "bedrock_converse" => {
            let model = routed(model);
            let model = if model.contains("arn") { model.rsplit('/').next().unwrap_or(model) } else { model };
            let model = without_window(model);
            let across = ["global", "us", "eu", "apac", "jp", "au", "us-gov"];
            let model = match (model.split_once('.'), model.split_once('/')) {
                (Some((area, id)), _) if across.contains(&area) => id,
                (_, Some((region, id))) if is_region(region) => id,
                _ => model,
            };
            Cow::Borrowed(model)
        }
        "vertex_ai" | "gemini" | "databricks" => Cow::Borrowed(without_version(model)),
        // A fine-tuned model is `ft:BASE:organisation:suffix:id`.
        _ if model.contains("ft:") => {
            let parts: Vec<&str> = model.split(':').collect();
            match parts.len() {
                0..=3 => Cow::Borrowed(model),
                many => Cow::Owned(parts[..many - 3].join(":")),
            }
        }
        _ => Cow::Borrowed(without_date(model)),
    }
}

/// `name:version:51k` and `name[1m]`.
fn without_window(model: &str) -> &str {
    let model = match model.rsplit_once(':') {
        Some((name, window)) if window.ends_with('k') && name.contains(':') => name,
        _ => model,
    };
    match model.rsplit_once('[') {
        Some((name, rest)) if rest.ends_with(']') => name,
        _ => model,
    }
}

/// `-001`.
fn without_version(model: &str) -> &str {
    match model.rsplit_once('-') {
        Some((name, digits)) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            name
        }
        _ => model,
    }
}

/// `-2025-01-31`.
fn without_date(model: &str) -> &str {
    let Some(at) = model.len().checked_sub(11) else { return model };
    let (Some(name), Some(date)) = (model.get(..at), model.as_bytes().get(at..)) else { return model };
    let is_date = date.iter().enumerate().all(|(at, byte)| match at {
        0 | 5 | 8 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    if is_date { name } else { model }
}

/// The size class of a model that Together prices by its parameters: the first number before a `b`.
pub(super) fn together(model: &str) -> Option<&'static str> {
    let lower = model.to_ascii_lowercase();
    let bytes = lower.as_bytes();
    let end = (1..bytes.len()).find(|at| bytes[*at] == b'b' && bytes[at - 1].is_ascii_digit())?;
    let start = (0..end).rev().take_while(|at| bytes[*at].is_ascii_digit()).last()?;
    let billions: u64 = lower.get(start..end)?.parse().ok()?;
    Some(match billions {
        0..=4 => "together-ai-up-to-4b",
        5..=8 => "together-ai-4.1b-8b",
        9..=21 => "together-ai-8.1b-21b",
        22..=41 => "together-ai-21.1b-41b",
        42..=80 => "together-ai-41.1b-80b",
        81..=110 => "together-ai-81.1b-110b",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_loses_its_date_region_and_route_in_turn() {
        assert_eq!(stripped("openai", "gpt-4o-2024-08-06"), "gpt-4o");
        assert_eq!(stripped("openai", "gpt-4o"), "gpt-4o");
        assert_eq!(stripped("openai", "ft:gpt-4o-2024-08-06:acme::id"), "ft:gpt-4o-2024-08-06");
        assert_eq!(stripped("gemini", "gemini-1.5-flash-001"), "gemini-1.5-flash");
        assert_eq!(
            stripped("bedrock", "us.anthropic.claude-opus-4-6-v1[1m]"),
            "anthropic.claude-opus-4-6-v1"
        );
        assert_eq!(bedrock("converse/us-east-1/anthropic.claude-x-v1:0"), "anthropic.claude-x-v1:0");
        assert_eq!(
            bedrock("arn:aws:bedrock:us-east-1:1:inference-profile/us.meta.llama-v1:0"),
            "us.meta.llama-v1:0"
        );
        assert!(is_region("us-gov-west-1") && !is_region("anthropic.claude") && !is_region("us-east"));
    }

    #[test]
    fn a_size_class_is_found_in_a_name() {
        assert_eq!(together("mistralai/Mixtral-8x7B-Instruct-v0.1"), Some("together-ai-4.1b-8b"));
        assert_eq!(together("meta/llama-70b-chat"), Some("together-ai-41.1b-80b"));
        assert_eq!(together("some/model"), None);
    }

    #[test]
    fn names_of_any_letters_do_not_panic() {
        for name in ["é-2025-01-31", "日本日本日本", "b", "", "4b", "[", ":", "-"] {
            let _ = (candidates("openai", name), candidates("bedrock", name), together(name));
        }
    }
}
