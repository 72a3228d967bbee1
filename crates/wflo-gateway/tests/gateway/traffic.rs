//! How far the holds of realistic traffic are above its bills.
//!
//! The mix is what applications send: questions and answers, questions over found documents, extraction to
//! a schema, long writing, and agents that read code with most of their prompt cached. The text is this
//! project's own prose and code. A provider is taken to bill its tokens where its encoding is published, and
//! elsewhere one for 4.2 bytes of prose or 3.2 of code; answers end before the limit that was set for them.
//! A hold is the plain bound, or the one by the counted text that a budget without room for that one asks for.

use serde_json::json;
use wflo_gateway::dialect::Dialect;
use wflo_gateway::dialect::request::Request;
use wflo_gateway::dialect::wire::Asked;
use wflo_gateway::encoding::{Encoding, Work};
use wflo_gateway::price::{Tier, settle};
use wflo_gateway::reserve::{closer_bound, upper_bound};
use wflo_gateway::usage::{Dimension as D, Usage};

use crate::generated::Model;

/// A small generator of its own, so that the figures are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }
}

/// A kind of application.
struct Kind {
    name: &'static str,
    /// Of a hundred calls.
    share: u64,
    /// Bytes of the prompt.
    prompt: (u64, u64),
    /// What is read.
    text: &'static str,
    /// Bytes of a token, in tenths.
    token: u64,
    /// The limit that is set for an answer, and how much of it is used, in hundredths.
    limit: (u64, u64),
    used: (u64, u64),
    /// How much of the prompt is read from the provider's cache, in hundredths.
    cached: (u64, u64),
    tools: u64,
}

const PROSE: &str = concat!(
    include_str!("../../../../ARCHITECTURE.md"),
    include_str!("../../../../docs/reference/gateway.md")
);
const CODE: &str =
    concat!(include_str!("../../src/dialect/google.rs"), include_str!("../../src/dialect/json.rs"));

const KINDS: [Kind; 5] = [
    Kind {
        name: "chat",
        text: PROSE,
        share: 40,
        prompt: (400, 6_000),
        token: 42,
        limit: (512, 2_048),
        used: (25, 90),
        cached: (0, 0),
        tools: 0,
    },
    Kind {
        name: "documents",
        text: PROSE,
        share: 20,
        prompt: (6_000, 24_000),
        token: 42,
        limit: (512, 1_024),
        used: (25, 80),
        cached: (0, 30),
        tools: 0,
    },
    Kind {
        name: "extraction",
        text: PROSE,
        share: 15,
        prompt: (1_500, 8_000),
        token: 42,
        limit: (256, 1_024),
        used: (30, 90),
        cached: (0, 0),
        tools: 1,
    },
    Kind {
        name: "writing",
        text: PROSE,
        share: 10,
        prompt: (500, 3_000),
        token: 42,
        limit: (2_048, 8_192),
        used: (50, 100),
        cached: (0, 0),
        tools: 0,
    },
    Kind {
        name: "agent",
        text: CODE,
        share: 15,
        prompt: (20_000, 160_000),
        token: 32,
        limit: (4_096, 16_384),
        used: (3, 30),
        cached: (70, 97),
        tools: 8,
    },
];

const MODELS: [(&str, &str); 8] = [
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-5-mini"),
    ("openai", "gpt-4.1"),
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-haiku-4-5"),
    ("gemini", "gemini-2.5-flash"),
    ("gemini", "gemini-2.5-pro"),
    ("cohere", "command-a-03-2025"),
];

/// So many bytes of a text, from somewhere in it on, again and again.
fn part(text: &str, bytes: u64, random: &mut Random) -> String {
    let bytes = usize::try_from(bytes).unwrap();
    let from = text.floor_char_boundary(usize::try_from(random.next()).unwrap() % text.len());
    let mut part = text[from..].to_owned();
    while part.len() < bytes {
        part.push_str(text);
    }
    part.truncate(part.floor_char_boundary(bytes));
    part
}

/// One call: how much its hold is of its bill, in thousandths; by the plain bound, and by the counted text.
fn ratio(kind: &Kind, model: &Model, random: &mut Random) -> [u64; 2] {
    let bytes = random.between(kind.prompt.0, kind.prompt.1);
    let limit = random.between(kind.limit.0, kind.limit.1);
    let text = part(kind.text, bytes, random);
    let tokens = match Encoding::of(&model.name).filter(|_| model.price.own) {
        Some(encoding) => encoding.most_tokens(&text, &mut Work::default()),
        None => text.len() as u64 * 10 / kind.token,
    };
    let tool = json!({"name": "read_file", "description": "Reads a file of the project.", "parameters":
        {"type": "object", "properties": {"path": {"type": "string"}, "lines": {"type": "integer"}}}});
    let tools: Vec<_> = (0..kind.tools)
        .map(|_| match model.dialect {
            Dialect::Anthropic => json!({"name": tool["name"], "description": tool["description"], "input_schema": tool["parameters"]}),
            Dialect::Google => json!({"functionDeclarations": [tool]}),
            _ => json!({"type": "function", "function": tool}),
        })
        .collect();
    let mut body = match model.dialect {
        Dialect::Google => json!({"contents": [{"role": "user", "parts": [{"text": text}]}],
            "generationConfig": {"maxOutputTokens": limit}}),
        _ => {
            json!({"model": model.name, "max_tokens": limit, "messages": [{"role": "user", "content": text}]})
        }
    };
    if !tools.is_empty() {
        body["tools"] = tools.into();
    }
    match model.dialect {
        // Whoever cares for the price says at which tier.
        Dialect::OpenAi => body["service_tier"] = "default".into(),
        Dialect::Anthropic => {
            body["inference_geo"] = "global".into();
            if kind.cached.1 > 0 {
                body["cache_control"] = json!({"type": "ephemeral"});
            }
        }
        _ => {}
    }
    let body = body.to_string();
    let suffix = format!("/models/{}:generateContent", model.name);
    let endpoint = match model.dialect {
        Dialect::Anthropic => wflo_gateway::dialect::Endpoint::Messages,
        Dialect::Google => wflo_gateway::dialect::Endpoint::Generate,
        _ => wflo_gateway::dialect::Endpoint::Chat,
    };
    let asked = Asked { dialect: model.dialect, endpoint, suffix: &suffix, query: None, beta: "" };
    let request = Request::read(&asked, body.as_bytes()).unwrap();
    let hold = upper_bound(&request, &model.price).unwrap();
    let closer = closer_bound(&request, &model.price, body.as_bytes()).unwrap().unwrap_or(hold);
    let input = tokens + 20 + 60 * kind.tools;
    let cached = input * random.between(kind.cached.0, kind.cached.1) / 100;
    let output = limit * random.between(kind.used.0, kind.used.1) / 100;
    let mut usage = Usage::of(&[(D::Input, input - cached), (D::CacheRead, cached), (D::Output, output)]);
    usage.tier = Some(Tier::Standard);
    let bill = settle(&usage, &model.price).nanos();
    [hold, closer].map(|hold| u64::try_from(hold.cost.nanos() * 1_000 / bill).unwrap())
}

#[test]
fn the_holds_of_realistic_traffic_are_near_its_bills() {
    let models: Vec<Model> = MODELS.iter().map(|(at, name)| Model::at(at, name).unwrap()).collect();
    let mut random = Random(7);
    let mut all = Vec::new();
    let said = |name: &str, ratios: &[[u64; 2]]| {
        let [plain, counted] = medians(ratios);
        println!("{name:12} {:5} calls: median hold / bill {plain:.2}, counted {counted:.2}", ratios.len());
    };
    for kind in &KINDS {
        let mut ratios = Vec::new();
        for (at, model) in MODELS
            .iter()
            .zip(&models)
            .flat_map(|of| std::iter::repeat_n(of, usize::try_from(kind.share * 2).unwrap()))
        {
            ratios.push((at.0, ratio(kind, model, &mut random)));
        }
        let of = |provider: Option<&str>| -> Vec<[u64; 2]> {
            let chosen = ratios.iter().filter(|(at, _)| provider.is_none_or(|provider| provider == *at));
            chosen.map(|(_, ratio)| *ratio).collect()
        };
        said(kind.name, &of(None));
        said("  at openai", &of(Some("openai")));
        all.extend(ratios);
    }
    let whole: Vec<_> = all.iter().map(|(_, ratio)| *ratio).collect();
    let openai: Vec<_> = all.iter().filter(|(at, _)| *at == "openai").map(|(_, ratio)| *ratio).collect();
    said("all", &whole);
    said("  at openai", &openai);
    let [plain, counted] = medians(&whole);
    assert!(plain <= 3.2 && counted <= 2.6, "{plain} {counted}");
    assert!(medians(&openai)[1] <= 2.0, "{:?}", medians(&openai));
}

#[allow(clippy::cast_precision_loss)]
fn medians(ratios: &[[u64; 2]]) -> [f64; 2] {
    [0, 1].map(|which| {
        let mut sorted: Vec<u64> = ratios.iter().map(|ratio| ratio[which]).collect();
        sorted.sort_unstable();
        sorted[sorted.len() / 2] as f64 / 1_000.0
    })
}
