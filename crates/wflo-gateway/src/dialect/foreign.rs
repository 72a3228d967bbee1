//! Fields that OpenAI-compatible servers add of their own, and what each does to the bound.
//!
//! Owns the table of names. Such a server need not mean by `max_tokens` what OpenAI means: llama.cpp
//! lets `n_predict` overrule it, others have further names for "how much" and "how often", and the next
//! server has one that nobody here has heard of. So a field is known to leave the bound alone, or it
//! counts, or the request is bounded by the model's window whatever it asks for.

use super::json::{BodyError, Edit, Fields};
use super::thoughts;

/// Limits of one choice's output beside `max_tokens`; the largest counts.
pub(super) const LIMITS: [&str; 5] =
    ["max_completion_tokens", "n_predict", "num_predict", "max_new_tokens", "max_output_tokens"];

/// How many answers are written; the largest counts.
pub(super) const CHOICES: [&str; 6] =
    ["n", "best_of", "n_cmpl", "num_return_sequences", "num_beams", "beam_width"];

/// Names that do not change how much is read or written: OpenAI's own, and sampling, grammar and
/// bookkeeping of llama.cpp, vLLM, SGLang, Ollama, TGI, OpenRouter and LiteLLM.
const HARMLESS: [&str; 75] = [
    "model",
    "messages",
    "input",
    "stream",
    "stream_options",
    "max_tokens",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "response_format",
    "temperature",
    "top_p",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "seed",
    "user",
    "metadata",
    "store",
    "service_tier",
    "modalities",
    "audio",
    "prediction",
    "reasoning_format",
    "verbosity",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "encoding_format",
    "dimensions",
    "top_k",
    "top_a",
    "min_p",
    "typical_p",
    "top_n_sigma",
    "repeat_penalty",
    "repetition_penalty",
    "repeat_last_n",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "xtc_probability",
    "xtc_threshold",
    "dynatemp_range",
    "dynatemp_exponent",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "samplers",
    "grammar",
    "json_schema",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "cache_prompt",
    "id_slot",
    "timings_per_token",
    "return_progress",
    "min_tokens",
    "stop_token_ids",
    "bad_words",
    "skip_special_tokens",
    "add_generation_prompt",
    "keep_alive",
    "format",
    "transforms",
    "session_id",
    "tags",
];

/// The largest of these fields that is set.
pub(super) fn largest(fields: &Fields<'_>, names: &[&str]) -> Result<Option<u64>, BodyError> {
    let mut largest = None;
    for name in names {
        largest = largest.max(fields.count(name)?);
    }
    Ok(largest)
}

/// The edits after which none of the limits is above `limit`.
pub(super) fn lowered(fields: &Fields<'_>, limit: u64) -> Result<Vec<Edit>, BodyError> {
    let mut edits = Vec::new();
    for name in std::iter::once("max_tokens").chain(LIMITS) {
        let larger = fields.count(name)?.is_some_and(|stated| stated > limit);
        edits.extend(fields.get(name).filter(|_| larger).map(|_| fields.set(name, &limit.to_string())));
    }
    Ok(edits)
}

/// The first field that nobody here knows; a `null` asks for nothing.
pub(super) fn unknown(fields: &Fields<'_>, also_known: &[&str]) -> Option<String> {
    let known = |name: &str| {
        HARMLESS.contains(&name)
            || LIMITS.contains(&name)
            || CHOICES.contains(&name)
            || thoughts::FIELDS.contains(&name)
            || also_known.contains(&name)
    };
    fields.iter().find(|field| field.value != "null" && !known(&field.name)).map(|field| field.name.clone())
}
