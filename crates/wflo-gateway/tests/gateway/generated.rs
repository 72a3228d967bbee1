//! Generated requests of every endpoint, and the usage that a provider may report for each.
//!
//! Independent of the bound: text is at most a token a byte, tools at most three, an image and a preamble as
//! documented, an unknown template may fill the window; output is at most what the request or the model says;
//! everything is split in any way over the kinds of tokens that the request makes possible.

use proptest::prelude::*;
use wflo_gateway::dialect::request::Request;
use wflo_gateway::dialect::{Dialect, Endpoint};
use wflo_gateway::price::{End, Kind, Price, Template, Tier, known, lookup};
use wflo_gateway::usage::{Dimension as D, Usage};

mod body;

pub(crate) use body::body;

#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) text: String,
    /// Most tokens of the text: its bytes, where nobody has counted them.
    pub(crate) tokens: u64,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) n: u64,
    pub(crate) tier: Option<&'static str>,
    pub(crate) tools: usize,
    pub(crate) cached: Option<&'static str>,
    pub(crate) image: bool,
    pub(crate) fast: bool,
    pub(crate) responses: bool,
    pub(crate) searches: u64,
    pub(crate) thinking: Option<u64>,
    pub(crate) remote: bool,
    pub(crate) audio: bool,
}

pub(crate) fn asked() -> impl Strategy<Value = Asked> {
    let tiers = vec!["auto", "default", "flex", "priority", "ultrafast"];
    let first = (
        "[ -~é中😀\\n]{0,200}",
        proptest::option::of(1_u64..200_000),
        1_u64..4,
        proptest::option::of(proptest::sample::select(tiers)),
        0_usize..4,
        proptest::option::of(proptest::sample::select(vec!["5m", "1h"])),
    );
    let second = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        prop_oneof![3 => Just(0_u64), 1 => 1_u64..6],
        proptest::option::of(1_024_u64..60_000),
        prop_oneof![4 => Just(false), 1 => Just(true)],
        prop_oneof![4 => Just(false), 1 => Just(true)],
    );
    (first, second).prop_map(|((text, max_tokens, n, tier, tools, cached), second)| {
        let (image, fast, responses, searches, thinking, remote, audio) = second;
        Asked {
            tokens: text.len() as u64,
            text,
            max_tokens,
            n,
            tier,
            tools,
            cached,
            image,
            fast,
            responses,
            searches,
            thinking,
            remote,
            audio,
        }
    })
}

/// Shares of each total, in 255ths, and which of the reachable tiers answers.
#[derive(Debug, Clone)]
pub(crate) struct Billed {
    input: u8,
    output: u8,
    split: [u8; 12],
    tier: u8,
    geo_us: bool,
}

pub(crate) fn billed() -> impl Strategy<Value = Billed> {
    let share = prop_oneof![Just(0_u8), Just(255), any::<u8>()];
    let split = proptest::array::uniform12(prop_oneof![2 => Just(0_u8), 1 => Just(255), 2 => any::<u8>()]);
    (share.clone(), share, split, any::<u8>(), any::<bool>())
        .prop_map(|(input, output, split, tier, geo_us)| Billed { input, output, split, tier, geo_us })
}

/// A model of the map and how it is called.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) dialect: Dialect,
    pub(crate) price: Price,
}

impl Model {
    pub(crate) fn at(provider: &str, name: &str) -> Option<Model> {
        let price = lookup(provider, name)?;
        let dialect = match provider {
            "anthropic" => Dialect::Anthropic,
            "gemini" => Dialect::Google,
            "cohere" => Dialect::Cohere,
            _ => Dialect::OpenAi,
        };
        let name = name.strip_prefix(&format!("{provider}/")).unwrap_or(name).to_owned();
        Some(Model { name, dialect, price })
    }

    pub(crate) fn endpoint(&self, asked: &Asked) -> Endpoint {
        match (self.price.kind, self.dialect) {
            (Kind::Embedding, _) => Endpoint::Embeddings,
            (Kind::Rerank, _) => Endpoint::Rerank,
            (_, Dialect::Anthropic) => Endpoint::Messages,
            (_, Dialect::Google) => Endpoint::Generate,
            (_, Dialect::OpenAi) if asked.responses => Endpoint::Responses,
            _ => Endpoint::Chat,
        }
    }
}

/// Every model of the map that an endpoint of the gateway can be asked for.
pub(crate) fn models() -> Vec<Model> {
    let called = |kind| matches!(kind, Kind::Chat | Kind::Embedding | Kind::Rerank | Kind::Image);
    known()
        .filter(|known| called(known.price.kind))
        .filter_map(|known| {
            let mut model = Model::at(known.provider, known.name)?;
            if model.price.kind == Kind::Rerank {
                model.dialect = Dialect::Cohere;
            }
            Some(model)
        })
        .collect()
}

pub(crate) fn share(total: u64, part: u8) -> u64 {
    u64::try_from(u128::from(total) * u128::from(part) / 255).unwrap()
}

/// The most tokens of a picture, as OpenAI documents them.
fn openai_image(model: &str) -> u64 {
    let model = model.split("-20").next().unwrap_or(model);
    match model {
        "gpt-4o" | "gpt-4.1" | "o1" | "o3" | "gpt-5" => 85 + 8 * 170,
        "gpt-4.1-mini" | "gpt-4.1-nano" | "o4-mini" | "gpt-5-mini" | "gpt-5-nano" => 3_779,
        _ => 48_169,
    }
}

/// The most input that the provider may count, over all rounds.
fn most_input(asked: &Asked, request: &Request, model: &Model) -> u64 {
    let window = model.price.context_tokens.unwrap_or(0);
    match request.endpoint {
        Endpoint::Embeddings => return asked.tokens + 1 + 8,
        Endpoint::Rerank => {
            let documents = (asked.tools * 60 + 1) as u64;
            return documents * (asked.text.len() as u64 + "what".len() as u64 + 4);
        }
        _ => {}
    }
    let heard = matches!(request.endpoint, Endpoint::Chat | Endpoint::Generate);
    let unsizable = asked.remote || asked.audio && heard;
    let rounds = request.tools.rounds + 1;
    let by_text = match model.price.template {
        Template::Unknown => return window * rounds,
        _ if unsizable && model.dialect != Dialect::Cohere || rounds > 1 => return window * rounds,
        template => {
            let (image, preamble) = match template {
                Template::OpenAi => (openai_image(&model.name), 30),
                // A picture of 3,072 by 3,072 pixels has sixteen tiles.
                Template::Google => (16 * 258, 300),
                Template::Cohere => (0, 0),
                _ => (4_784, 804),
            };
            let texts = asked.tokens + asked.text.len() as u64 * 3 * asked.tools as u64 + 20;
            texts + if asked.image { image } else { 0 } + if asked.tools > 0 { preamble } else { 0 }
        }
    };
    by_text.min(model.price.context_tokens.unwrap_or(u64::MAX))
}

/// A usage that the provider may report for this request.
pub(crate) fn usage(asked: &Asked, billed: &Billed, request: &Request, model: &Model) -> Usage {
    let price = &model.price;
    let mut input = share(most_input(asked, request, model), billed.input);
    let tokens = !matches!(request.endpoint, Endpoint::Embeddings | Endpoint::Rerank);
    let each = request.max_output.or(price.max_output_tokens).or(price.context_tokens).unwrap_or(0);
    let told = matches!(price.end, End::Told(_));
    let thought = match model.dialect {
        // At such a server it may be used up beside the limit, wherever that is.
        Dialect::Anthropic if told => asked.thinking.unwrap_or(0) + each,
        Dialect::OpenAi if told && asked.thinking.is_some() => each.max(price.context_tokens.unwrap_or(0)),
        // A budget above the limit may be used up beside it.
        Dialect::Anthropic | Dialect::Cohere => asked.thinking.unwrap_or(0).max(each),
        _ => each,
    };
    let mut output = if tokens { share(thought * request.choices, billed.output) } else { 0 };
    let mut counts = Vec::new();
    let mut take = |from: &mut u64, part: usize, allowed: bool, dimension: D| {
        let taken = if allowed { share(*from, billed.split[part]) } else { 0 };
        *from -= taken;
        counts.push((dimension, taken));
    };
    let anthropic = model.dialect == Dialect::Anthropic;
    let openai = model.dialect == Dialect::OpenAi;
    let hears = asked.audio
        && matches!(request.endpoint, Endpoint::Chat | Endpoint::Generate)
        && model.dialect != Dialect::Cohere;
    let reads = asked.remote && model.dialect != Dialect::Cohere;
    take(&mut input, 0, tokens, D::CacheRead);
    take(&mut input, 1, tokens && (!anthropic || request.facts.cached), D::CacheWrite);
    let long = anthropic && asked.cached == Some("1h")
        || openai && request.endpoint == Endpoint::Responses && asked.cached.is_some();
    take(&mut input, 2, tokens && long, D::CacheWriteLong);
    take(&mut input, 3, tokens && long && openai, D::CacheWriteLongest);
    take(&mut input, 4, tokens && openai, D::CacheReadExplicit);
    take(&mut input, 5, tokens && (hears || reads && openai), D::AudioInput);
    take(&mut input, 6, tokens && hears, D::AudioCacheRead);
    take(&mut input, 7, tokens && (asked.image || reads) && model.dialect != Dialect::Cohere, D::ImageInput);
    take(&mut input, 8, tokens && reads && model.dialect == Dialect::Google, D::VideoInput);
    take(&mut output, 9, tokens, D::Reasoning);
    take(&mut output, 10, tokens && price.prices(D::ImageOutput), D::ImageOutput);
    take(&mut output, 11, tokens, D::AudioOutput);
    counts.extend([(D::Input, input), (D::Output, output)]);
    match request.endpoint {
        Endpoint::Messages => counts.push((D::WebSearches, share(asked.searches, billed.split[0]))),
        Endpoint::Responses => {
            let searched =
                [D::WebSearches, D::WebSearchesLow, D::WebSearchesHigh][usize::from(billed.tier % 3)];
            counts.extend([
                (searched, share(asked.searches, billed.split[0])),
                (D::FileSearches, asked.searches),
            ]);
        }
        // However often it searched: it is billed by the prompt where it is bounded.
        Endpoint::Generate if asked.searches > 0 => {
            counts.extend([(D::WebSearches, asked.searches), (D::MapSearches, u64::from(billed.geo_us))]);
        }
        Endpoint::Rerank => {
            let documents = (asked.tools * 60 + 1) as u64;
            counts.push((D::Queries, documents.div_ceil(100)));
        }
        _ => {}
    }
    if openai {
        // Some servers bill these, and say how many there were.
        counts.push((D::Characters, share(asked.text.chars().count() as u64, billed.split[1])));
        counts.push((D::Images, u64::from(asked.image && tokens)));
        let plays = tokens && (reads || hears);
        counts.push((D::VideoTime, if plays { 60_000 } else { 0 }));
        counts.push((D::AudioTime, if plays { 60_000 } else { 0 }));
    }
    let mut usage = Usage::of(&counts);
    let tiers: &[Tier] = match (model.dialect, asked.tier) {
        (Dialect::Anthropic, _) => &[Tier::Standard, Tier::Priority],
        (Dialect::Cohere, _) | (_, Some("default")) => &[Tier::Standard],
        (Dialect::Google, Some("flex")) => &[Tier::Standard, Tier::Flex],
        (Dialect::Google, Some("priority")) => &[Tier::Standard, Tier::Priority],
        (Dialect::Google, _) => &[Tier::Standard],
        (_, None | Some("auto")) => &[Tier::Standard, Tier::Flex, Tier::Priority],
        (_, Some(named)) => &[Tier::Standard, Tier::named(named)],
    };
    usage.tier = Some(tiers[usize::from(billed.tier) % tiers.len()]);
    if billed.geo_us && !price.windows.is_empty() {
        usage.tier = Some(Tier::OffPeak);
    }
    usage.geo_us = anthropic && billed.geo_us;
    usage.fast = anthropic && asked.fast;
    usage
}
