//! Requests that would be billed above a bound which believed them.
//!
//! Each comes with what its provider documents, or was seen, to bill for it.

use wflo_core::money::NanoUsd;
use wflo_gateway::dialect::request::Request;
use wflo_gateway::dialect::wire::Asked;
use wflo_gateway::dialect::{Dialect, Endpoint};
use wflo_gateway::price::{ModelSettings, Price, lookup, settle};
use wflo_gateway::reserve::upper_bound;
use wflo_gateway::usage;

fn hold(dialect: Dialect, endpoint: Endpoint, price: &Price, body: &str) -> Result<NanoUsd, String> {
    let asked = Asked { dialect, endpoint, suffix: "/v1beta/models/m:verb", query: None, beta: "" };
    let request = Request::read(&asked, body.as_bytes()).map_err(|error| error.to_string())?;
    upper_bound(&request, price).map(|bound| bound.cost).map_err(|error| error.to_string())
}

/// The price of a model of the map, or of one at a server of the operator's own.
fn price(provider: &str, model: &str) -> Price {
    lookup(provider, model).unwrap_or_else(|| panic!("{provider} has no {model}"))
}

fn foreign() -> Price {
    let own = ModelSettings {
        provider: Some("local".into()),
        input: Some("1".into()),
        output: Some("1000".into()),
        context_tokens: Some(100_000),
        max_output_tokens: Some(1_000),
        ..ModelSettings::default()
    };
    own.price("local", "m").unwrap().unwrap()
}

/// What is held for the request is at least what its answer is billed.
fn held((dialect, endpoint): (Dialect, Endpoint), price: &Price, body: &str, answer: &str) {
    let bill = settle(&usage::of_answer(dialect, answer.as_bytes()).unwrap(), price);
    assert!(bill > NanoUsd::ZERO, "{answer} is billed");
    match hold(dialect, endpoint, price, body) {
        Ok(hold) => assert!(hold >= bill, "{body}: {hold} < {bill}"),
        // What has no bound is not sent.
        Err(error) => panic!("{body}: {error}"),
    }
}

const CHAT: (Dialect, Endpoint) = (Dialect::OpenAi, Endpoint::Chat);
const RESPONSES: (Dialect, Endpoint) = (Dialect::OpenAi, Endpoint::Responses);
const MESSAGES: (Dialect, Endpoint) = (Dialect::Anthropic, Endpoint::Messages);
const GENERATE: (Dialect, Endpoint) = (Dialect::Google, Endpoint::Generate);

#[test]
fn a_rerank_is_held_by_its_search_units() {
    let rerank = (Dialect::Cohere, Endpoint::Rerank);
    for (documents, units) in [(10, 1), (1_000, 10)] {
        let documents = vec!["\"d\""; documents].join(",");
        let body = format!(r#"{{"model":"rerank-v3.5","query":"q","documents":[{documents}]}}"#);
        let answer = format!(r#"{{"results":[],"meta":{{"billed_units":{{"search_units":{units}}}}}}}"#);
        held(rerank, &price("cohere", "rerank-v3.5"), &body, &answer);
        let asked = Asked { dialect: rerank.0, endpoint: rerank.1, suffix: "", query: None, beta: "" };
        let request = Request::read(&asked, body.as_bytes()).unwrap();
        let bound = upper_bound(&request, &price("cohere", "rerank-v3.5")).unwrap();
        assert_eq!(bound.write, None, "a rerank has no limit of output to be told");
    }
}

#[test]
fn pictures_and_films_that_are_made_are_held_at_their_own_rates() {
    for (model, kind, tokens) in
        [("gemini-2.5-flash-image", "IMAGE", 32_768), ("gemini-3-pro-image-preview", "IMAGE", 32_768)]
    {
        let answer = format!(
            r#"{{"usageMetadata":{{"promptTokenCount":10,"candidatesTokenCount":{tokens},"totalTokenCount":{},"candidatesTokensDetails":[{{"modality":"{kind}","tokenCount":{tokens}}}]}}}}"#,
            tokens + 10
        );
        let body = format!(r#"{{"contents":[],"generationConfig":{{"maxOutputTokens":{tokens}}}}}"#);
        held(GENERATE, &price("gemini", model), &body, &answer);
        held(GENERATE, &price("gemini", model), r#"{"contents":[]}"#, &answer);
    }
}

#[test]
fn embeddings_of_what_the_body_only_names_are_held_by_the_window() {
    let embed = (Dialect::Google, Endpoint::Embeddings);
    for (kind, mime) in [("AUDIO", "audio/mpeg"), ("VIDEO", "video/mp4")] {
        let body = format!(
            r#"{{"content":{{"parts":[{{"fileData":{{"mimeType":"{mime}","fileUri":"https://x/files/abc"}}}}]}}}}"#
        );
        let answer = format!(
            r#"{{"embedding":{{"values":[1]}},"usageMetadata":{{"promptTokenCount":8000,"totalTokenCount":8000,"promptTokensDetails":[{{"modality":"{kind}","tokenCount":8000}}]}}}}"#
        );
        held(embed, &price("gemini", "gemini-embedding-2"), &body, &answer);
    }
    let image = r#"{"model":"m","input":[{"type":"image_url","image_url":{"url":"https://x/a.png"}}]}"#;
    let answer = r#"{"data":[],"usage":{"prompt_tokens":90000,"total_tokens":90000}}"#;
    held((Dialect::OpenAi, Endpoint::Embeddings), &foreign(), image, answer);
}

#[test]
fn pictures_that_are_embedded_are_held_beside_their_bytes() {
    for (model, billed) in
        [("embed-v4.0", r#"{"image_tokens":2500,"images":1}"#), ("embed-english-v3.0", r#"{"images":1}"#)]
    {
        let body =
            format!(r#"{{"model":"{model}","input_type":"image","images":["data:image/png;base64,AAAA"]}}"#);
        let answer = format!(r#"{{"embeddings":{{}},"meta":{{"billed_units":{billed}}}}}"#);
        held((Dialect::Cohere, Endpoint::Embeddings), &price("cohere", model), &body, &answer);
    }
}

/// No budget refuses what nothing is held for.
#[test]
fn a_call_for_which_nothing_would_be_held_is_refused_unless_the_model_is_free() {
    let settings = |input: &str, output: &str| ModelSettings {
        provider: Some("local".into()),
        input: Some(input.to_owned()),
        output: Some(output.to_owned()),
        context_tokens: Some(1_000),
        ..ModelSettings::default()
    };
    let free = settings("0", "0").price("local", "m").unwrap().unwrap();
    let body = r#"{"model":"m","input":"hi"}"#;
    assert_eq!(hold(Dialect::OpenAi, Endpoint::Embeddings, &free, body), Ok(NanoUsd::ZERO));
    let by_output = settings("0", "5").price("local", "m").unwrap().unwrap();
    let refused = hold(Dialect::OpenAi, Endpoint::Embeddings, &by_output, body).unwrap_err();
    assert!(refused.contains("says nothing of"), "{refused}");
    assert!(hold(CHAT.0, CHAT.1, &by_output, r#"{"model":"m","max_tokens":1,"messages":[]}"#).is_ok());
}

#[test]
fn audio_by_its_id_is_held_as_audio() {
    let body = r#"{"model":"gpt-audio","max_completion_tokens":10,"messages":[{"role":"user","content":"hi"},{"role":"assistant","audio":{"id":"audio_abc"}},{"role":"user","content":"go on"}]}"#;
    let answer = r#"{"usage":{"prompt_tokens":3000,"completion_tokens":5,"prompt_tokens_details":{"audio_tokens":2950}}}"#;
    held(CHAT, &price("openai", "gpt-audio"), body, answer);
}

/// Other servers speak Anthropic's dialect as well, and read fields that it does not have.
#[test]
fn fields_of_other_servers_count_in_anthropics_dialect() {
    let price = foreign();
    for field in [
        r#""n":128"#,
        r#""best_of":100"#,
        r#""n_predict":90000"#,
        r#""max_new_tokens":90000"#,
        r#""unheard_of":true"#,
    ] {
        let body = format!(r#"{{"model":"m","max_tokens":10,"messages":[],{field}}}"#);
        let output = if field.contains("n\":128") || field.contains("best_of") { 1_000 } else { 90_000 };
        held(
            MESSAGES,
            &price,
            &body,
            &format!(r#"{{"usage":{{"input_tokens":5,"output_tokens":{output}}}}}"#),
        );
    }
    for field in [
        r#""models":["dear"]"#,
        r#""plugins":[{"id":"web"}]"#,
        r#""provider":{"only":["dear"]}"#,
        r#""fallbacks":["x"]"#,
        r#""preset":"x""#,
        r#""route":"x""#,
        r#""web_search_options":{}"#,
        r#""N":2"#,
        r#""api_base":"http://169.254.169.254""#,
        r#""extra_headers":{"x":"y"}"#,
    ] {
        let body = format!(r#"{{"model":"m","max_tokens":10,"messages":[],{field}}}"#);
        assert!(hold(MESSAGES.0, MESSAGES.1, &price, &body).is_err(), "{field}");
    }
}

/// However the request says so, or does not.
#[test]
fn what_is_spoken_is_held_at_the_rate_of_speech() {
    let answer = r#"{"usage":{"prompt_tokens":10,"completion_tokens":1000,"completion_tokens_details":{"audio_tokens":1000}}}"#;
    for modalities in [r#","modalities":["text","\u0061udio"]"#, r#","modalities":["text","audio"]"#, ""] {
        let body = format!(
            r#"{{"model":"gpt-audio","max_completion_tokens":1000,"messages":[{{"role":"user","content":"hi"}}]{modalities}}}"#
        );
        held(CHAT, &price("openai", "gpt-audio"), &body, answer);
    }
    let spoken = r#"{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":10000,"totalTokenCount":10010,"candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":10000}]}}"#;
    for modalities in [r#"["\u0041UDIO"]"#, "[3]"] {
        let body = format!(
            r#"{{"contents":[],"generationConfig":{{"maxOutputTokens":10000,"responseModalities":{modalities}}}}}"#
        );
        held(GENERATE, &price("gemini", "gemini-2.5-flash-preview-tts"), &body, spoken);
    }
}

/// A server that is not the provider's own may think beside the limit.
#[test]
fn thoughts_are_held_beside_the_limit_at_servers_that_are_not_the_providers_own() {
    let price = foreign();
    let thought = r#"{"usage":{"prompt_tokens":10,"completion_tokens":30010}}"#;
    for (field, ways) in [
        (r#""enable_thinking":true"#, &[CHAT][..]),
        (r#""thinking":{"type":"enabled","budget_tokens":30000}"#, &[CHAT]),
        (r#""reasoning":{"max_tokens":30000}"#, &[CHAT, RESPONSES]),
        (r#""reasoning":{"effort":"high"}"#, &[CHAT, RESPONSES]),
        (r#""reasoning_effort":"high""#, &[CHAT]),
        (r#""chat_template_kwargs":{"thinking_budget":30000}"#, &[CHAT]),
        (r#""chat_template_kwargs":{"enable_thinking":true}"#, &[CHAT]),
        (r#""thinking_budget":30000"#, &[CHAT]),
    ] {
        for way in ways {
            let body = format!(
                r#"{{"model":"m","max_tokens":10,"max_output_tokens":10,"messages":[],"input":"x",{field}}}"#
            );
            held(*way, &price, &body, thought);
        }
    }
    let body =
        r#"{"model":"m","max_tokens":10,"messages":[],"thinking":{"type":"enabled","budget_tokens":30000}}"#;
    held(MESSAGES, &price, body, r#"{"usage":{"input_tokens":10,"output_tokens":30010}}"#);
    // Thinking that is switched off has no price.
    let tokens = |field: &str| {
        let body = format!(r#"{{"model":"m","max_tokens":10,"messages":[]{field}}}"#);
        hold(CHAT.0, CHAT.1, &price, &body).unwrap()
    };
    for off in [r#","enable_thinking":false"#, r#","thinking":{"type":"disabled"}"#] {
        assert_eq!(tokens(off), tokens(""), "{off}");
    }
    // The provider itself keeps thoughts within the limit.
    let own = lookup("openai", "gpt-5").unwrap().at_host("api.openai.com", Default::default());
    let asked = |field: &str| {
        let body = format!(r#"{{"model":"gpt-5","max_completion_tokens":10,"messages":[]{field}}}"#);
        hold(CHAT.0, CHAT.1, &own, &body).unwrap()
    };
    let more = asked(r#","reasoning_effort":"high""#).nanos() - asked("").nanos();
    assert!(more < 1_000_000, "{more}: no more than the bytes of the field");
}

#[test]
fn a_tier_by_a_name_that_is_not_known_is_held_at_every_tier() {
    for tier in ["Priority", "PRIORITY", "priority ", "performance", "scale", "turbo"] {
        for host in ["api.openai.com", "127.0.0.1"] {
            let price = price("openai", "gpt-5").at_host(host, Default::default());
            let body = format!(
                r#"{{"model":"gpt-5","max_completion_tokens":1000,"messages":[],"service_tier":"{tier}"}}"#
            );
            let answer =
                r#"{"service_tier":"priority","usage":{"prompt_tokens":60,"completion_tokens":1000}}"#;
            held(CHAT, &price, &body, answer);
        }
    }
    let google = r#"{"contents":[],"generationConfig":{"maxOutputTokens":1000},"serviceTier":"turbo"}"#;
    let answer = r#"{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":1000,"totalTokenCount":1010,"trafficType":"ON_DEMAND_PRIORITY"}}"#;
    held(GENERATE, &price("gemini", "gemini-2.5-flash"), google, answer);
}

#[test]
fn reasoning_that_is_stored_is_held_by_the_window_whatever_stands_beside_its_id() {
    let body = r#"{"model":"gpt-5","max_output_tokens":10,"input":[{"type":"reasoning","id":"rs_1","encrypted_content":"x","summary":[]}]}"#;
    held(RESPONSES, &price("openai", "gpt-5"), body, r#"{"usage":{"input_tokens":50000,"output_tokens":5}}"#);
}

#[test]
fn a_body_that_names_another_model_than_the_path_is_refused() {
    let other =
        r#"{"model":"models/gemini-2.5-pro","contents":[],"generationConfig":{"maxOutputTokens":10}}"#;
    let flash = price("gemini", "gemini-2.5-flash-lite");
    assert!(hold(GENERATE.0, GENERATE.1, &flash, other).is_err());
    assert!(hold(GENERATE.0, GENERATE.1, &flash, &other.replace("gemini-2.5-pro", "m")).is_ok());
}
