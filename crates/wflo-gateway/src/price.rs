//! What a model costs per token, in every dimension that a provider bills.
//!
//! Owns the price of one model and the arithmetic of looking a rate up; `table` holds the compiled
//! map, `operator` the prices of `wflo.toml`, `bill` turns usage into money. It knows nothing of
//! requests: what one can cost at most is `reserve`.
//!
//! **Architecture Invariant:** `settle` and the upper bound read rates through [`Price::rate`] alone,
//! so that a fallback used for the bill is the fallback used for the hold.

use std::borrow::Cow;

use crate::dialect::limit::OutputLimit;

mod bill;
mod operator;
mod table;

pub use crate::usage::Dimension;
pub(crate) use bill::raised;
pub use bill::settle;
pub use operator::{ModelSettings, PriceError};
pub use table::{known_models, lookup, map_hash, suggestion};

/// The service tier that a call was served at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Tier {
    /// The ordinary one.
    #[default]
    Standard,
    /// Cheaper and slower.
    Flex,
    /// Dearer and faster.
    Priority,
    /// The dearest one some providers have.
    Ultrafast,
    /// Between standard and priority at some providers.
    Balanced,
    /// A tier for short decisions at some providers.
    Decisions,
}

impl Tier {
    /// The tier that a provider's `service_tier` names; an unknown name is the standard tier's.
    pub fn named(name: &str) -> Tier {
        match name {
            "flex" => Tier::Flex,
            "priority" | "fast" => Tier::Priority,
            "ultrafast" => Tier::Ultrafast,
            "balanced" => Tier::Balanced,
            "decisions" => Tier::Decisions,
            _ => Tier::Standard,
        }
    }
}

/// One rate: `pico` pico-USD per token once a request has more than `above` input tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// What is counted.
    pub dimension: Dimension,
    /// At which service tier.
    pub tier: Tier,
    /// Applies when the request's whole input is larger than this, in tokens.
    pub above: u64,
    /// Pico-USD per token.
    pub pico: u64,
}

/// Factors on a whole bill, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uplift {
    /// Inference kept in the United States (Anthropic's `inference_geo`).
    pub geo_us: u64,
    /// Anthropic's `speed: "fast"`.
    pub fast: u64,
    /// OpenAI's United States endpoint.
    pub region_us: u64,
    /// OpenAI's European endpoint.
    pub region_eu: u64,
}

impl Uplift {
    /// No uplift.
    pub const NONE: Uplift = Uplift { geo_us: 1_000, fast: 1_000, region_us: 1_000, region_eu: 1_000 };
}

/// What the model answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text, tools, perhaps audio and images.
    Chat,
    /// Vectors.
    Embedding,
}

/// How a provider turns a request into the text that the model reads, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// OpenAI's own models: tokens are at most the bytes of the text plus a known overhead, and
    /// a request without `max_tokens` ends at the model's own maximum.
    OpenAi,
    /// Anthropic's own models, likewise.
    Anthropic,
    /// Anybody's: only the context window bounds the input, and `max_tokens` must be sent.
    Unknown,
}

/// What ends an answer at the server that a price is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The provider itself serves its own model: it reads the names that it documents, refuses others,
    /// and stops at the model's maximum when it is told nothing.
    Provider,
    /// Anybody's server: it must be told, by this name.
    Told(OutputLimit),
}

/// Where a price comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceSource {
    /// The compiled price map.
    Map,
    /// `[models]` of `wflo.toml`.
    Operator,
}

/// The price of one model at one provider.
#[derive(Debug, Clone)]
pub struct Price {
    /// The rates, in no order.
    pub rates: Cow<'static, [Rate]>,
    /// Most input tokens that the model reads, if known.
    pub context_tokens: Option<u64>,
    /// Most output tokens that the model writes for one choice, if known.
    pub max_output_tokens: Option<u64>,
    /// Pico-USD per request, beside its tokens.
    pub per_request: u64,
    /// Factors on the whole bill.
    pub uplift: Uplift,
    /// The factor of the endpoint's region, in thousandths; set by [`Price::at_host`].
    pub region: u64,
    /// What the model answers.
    pub kind: Kind,
    /// How requests become tokens.
    pub template: Template,
    /// What ends an answer where it is served; set by [`Price::at_host`].
    pub end: End,
    /// The model searches by itself, at a fee per search that no request bounds.
    pub searches: bool,
    /// Where the price comes from.
    pub source: PriceSource,
}

/// Whether a host is OpenAI's: its API's, a region's, or a customer's at Azure.
pub(crate) fn is_openai(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "api.openai.com" || host.ends_with(".api.openai.com") || host.ends_with(".openai.azure.com")
}

impl Price {
    /// The price as billed by this host, whose server reads this limit: OpenAI's regional endpoints cost
    /// more, and a server at another address than the provider's own may be anybody's, whatever name the
    /// model has there.
    #[must_use]
    pub fn at_host(mut self, host: &str, limit: OutputLimit) -> Price {
        let own = match self.template {
            Template::OpenAi => is_openai(host),
            Template::Anthropic => host == "api.anthropic.com",
            Template::Unknown => false,
        };
        self.end = if own { End::Provider } else { End::Told(limit) };
        self.region = match host.split('.').next() {
            Some("us") => self.uplift.region_us,
            Some("eu") => self.uplift.region_eu,
            _ => 1_000,
        };
        self
    }

    /// Pico-USD per token of a dimension at a tier, for a request with this many input tokens in
    /// all. Dimensions without a price of their own are billed as what they are a kind of.
    pub fn rate(&self, dimension: Dimension, tier: Tier, input: u64) -> u64 {
        use Dimension::{
            AudioCacheRead, AudioInput, AudioOutput, CacheRead, CacheWrite, CacheWriteLong, ImageInput,
            ImageOutput, Input, Output, Reasoning,
        };
        let mut dimension = dimension;
        loop {
            if let Some(pico) = self.own_rate(dimension, tier, input) {
                return pico;
            }
            dimension = match dimension {
                CacheWriteLong => CacheWrite,
                AudioCacheRead => AudioInput,
                CacheRead | CacheWrite | AudioInput | ImageInput => Input,
                Reasoning | AudioOutput | ImageOutput => Output,
                _ => return 0,
            };
        }
    }

    fn own_rate(&self, dimension: Dimension, tier: Tier, input: u64) -> Option<u64> {
        let best = |tier: Tier| {
            self.rates
                .iter()
                .filter(|rate| {
                    rate.dimension == dimension
                        && rate.tier == tier
                        && (rate.above == 0 || rate.above < input)
                })
                .max_by_key(|rate| (rate.above, rate.pico))
        };
        let standard = best(Tier::Standard);
        if tier == Tier::Standard {
            return standard.map(|rate| rate.pico);
        }
        match (best(tier), standard) {
            // A tier without a long-context price of its own pays the dearer of the two.
            (Some(own), Some(standard)) if standard.above > own.above => Some(own.pico.max(standard.pico)),
            (Some(own), _) => Some(own.pico),
            (None, standard) => standard.map(|rate| rate.pico),
        }
    }

    /// The dearest rate over these dimensions and tiers for any request of at most `input` input
    /// tokens.
    pub fn dearest(&self, dimensions: &[Dimension], tiers: &[Tier], input: u64) -> u64 {
        let thresholds = self.rates.iter().map(|rate| rate.above).filter(|above| *above < input);
        let mut dearest = 0;
        // A rate changes only at a threshold, so one look just past each of them sees them all.
        for above in std::iter::once(0).chain(thresholds) {
            for dimension in dimensions {
                for tier in tiers {
                    dearest = dearest.max(self.rate(*dimension, *tier, above.saturating_add(1).min(input)));
                }
            }
        }
        dearest
    }
}
