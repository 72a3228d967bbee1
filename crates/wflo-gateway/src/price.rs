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
mod freed;
mod installed;
mod kind;
mod map;
mod names;
mod operator;
mod prompt_cache;
mod rules;
mod table;
mod tier;

pub use crate::usage::Dimension;
pub use bill::{Bill, Line, bill, settle, settle_at};
pub(crate) use bill::{nanos, raised};
pub use installed::{About, InstallError, about, install, load, reset};
pub use kind::Kind;
pub use map::{MapError, Uplift, Window};
pub use operator::{ModelSettings, PriceError, femto};
pub use prompt_cache::prompt_cache;
pub use table::{Known, has_provider, known, known_models, lookup, map_hash, resolve, suggestion};
pub use tier::Tier;

/// One rate: `femto` femto-USD (1e-15 USD) for each of what is counted, once a request has more than
/// `above` input tokens. Time is priced by the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    /// What is counted.
    pub dimension: Dimension,
    /// At which service tier.
    pub tier: Tier,
    /// Applies when the request's whole input is larger than this, in tokens.
    pub above: u64,
    /// Femto-USD for one.
    pub femto: u64,
}

/// How a provider turns a request into the text that the model reads, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// OpenAI's own models: tokens are at most the bytes of the text plus a known overhead, and
    /// a request without `max_tokens` ends at the model's own maximum.
    OpenAi,
    /// Anthropic's own models, likewise.
    Anthropic,
    /// Google's own models at its Gemini API: as OpenAI's, but a request must say where its answer ends.
    Google,
    /// Cohere's own models: only the text of the request is billed, and not its template.
    Cohere,
    /// The operator's word for a server that nobody here knows: it adds at most so many tokens to a request, and
    /// its tokenizer makes at most one token of a byte.
    Stated(u64),
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
    /// The server is the model's own provider's: it takes text and pictures as that documents; set by
    /// [`Price::at_host`].
    pub own: bool,
    /// The model searches by itself, at a fee per search that no request bounds.
    pub searches: bool,
    /// A fee of searches is due once for a prompt, however many there were.
    pub per_prompt: bool,
    /// The provider bills by what it says that a call cost, also where that is less than the counts come to.
    pub reports: bool,
    /// When the off-peak prices apply.
    pub windows: &'static [Window],
    /// Where the price comes from.
    pub source: PriceSource,
}

/// Whether a host is OpenAI's: its API's, a region's, or a customer's at Azure.
pub(crate) fn is_openai(host: &str) -> bool {
    is_openai_api(host) || host.to_ascii_lowercase().ends_with(".openai.azure.com")
}

/// Whether it is the API's, of the world or of a region.
fn is_openai_api(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "api.openai.com" || host.ends_with(".api.openai.com")
}

impl Price {
    /// The price as billed by this host, whose server reads this limit: OpenAI's regional endpoints cost
    /// more, and a server at another address than the provider's own may be anybody's, whatever name the
    /// model has there.
    #[must_use]
    pub fn at_host(mut self, host: &str, limit: OutputLimit) -> Price {
        let host = host.to_ascii_lowercase();
        self.own = match self.template {
            // A customer's name for a model at Azure may be that of another.
            Template::OpenAi => is_openai_api(&host),
            Template::Anthropic => host == "api.anthropic.com",
            Template::Google => host == "generativelanguage.googleapis.com",
            Template::Cohere => host == "api.cohere.com",
            Template::Stated(_) | Template::Unknown => false,
        };
        let ends = match self.template {
            Template::OpenAi => is_openai(&host),
            Template::Anthropic => self.own,
            // Their servers have one name for the limit, which is the one that is written.
            Template::Google | Template::Cohere | Template::Stated(_) | Template::Unknown => false,
        };
        self.end = if ends { End::Provider } else { End::Told(limit) };
        self.region = match host.split('.').next() {
            Some("us") => self.uplift.region_us,
            Some("eu") => self.uplift.region_eu,
            // Google's global endpoint has no region before its name.
            Some(name) if name.ends_with("-aiplatform") => self.uplift.region_google,
            _ => 1_000,
        };
        self
    }

    /// Whether it costs more than another, and nothing of it costs less, by what most calls are billed by.
    pub fn is_dearer(&self, other: &Price) -> bool {
        let of = |price: &Price| {
            [Dimension::Input, Dimension::Output].map(|dimension| price.rate(dimension, Tier::Standard, 0))
        };
        let (own, other) = (of(self), of(other));
        own.iter().zip(&other).all(|(own, other)| own >= other) && own != other
    }

    /// Femto-USD for one of a dimension at a tier, for a request with this many input tokens in all.
    /// Dimensions without a price of their own are billed as what they are a kind of; what is a kind of
    /// nothing that is priced costs nothing.
    pub fn rate(&self, dimension: Dimension, tier: Tier, input: u64) -> u64 {
        if let Some(femto) = self.own_rate(dimension, tier, input) {
            return femto;
        }
        kind_of(dimension).map_or(0, |whole| self.rate(whole, tier, input))
    }

    /// Whether the provider asks for less at this moment, in seconds since 1970 in UTC.
    pub fn is_off_peak(&self, unix_seconds: i64) -> bool {
        self.windows.iter().any(|window| window.holds(unix_seconds))
    }

    /// Whether the dimension has a price of its own.
    pub fn prices(&self, dimension: Dimension) -> bool {
        self.rates.iter().any(|rate| rate.dimension == dimension)
    }

    /// Whether the dimension has a price, be it of what it is a kind of.
    pub fn knows(&self, dimension: Dimension) -> bool {
        self.prices(dimension) || kind_of(dimension).is_some_and(|whole| self.knows(whole))
    }

    fn own_rate(&self, dimension: Dimension, tier: Tier, input: u64) -> Option<u64> {
        use Dimension as D;
        let best = |wanted: Tier| {
            let rates = self.rates.iter().filter(|rate| rate.dimension == dimension && rate.tier == wanted);
            rates.filter(|rate| rate.above == 0 || rate.above < input).max_by_key(|rate| rate.above)
        };
        let own = best(tier);
        if tier == Tier::Standard {
            return own.map(|rate| rate.femto);
        }
        let at_tier = |dimension: Dimension| {
            self.rates.iter().any(|rate| rate.dimension == dimension && rate.tier == tier)
        };
        let batched = |dimension: Dimension| {
            std::iter::successors(kind_of(dimension), |whole| kind_of(*whole)).any(at_tier)
        };
        match (dimension, own) {
            // A batch has prices of its own throughout: what it does not price costs as what it is a kind of.
            (_, None) if tier == Tier::Batch && batched(dimension) => None,
            (D::Reasoning, None) if tier != Tier::OffPeak && at_tier(D::Output) => None,

            // The thresholds of the long-lived cache are each tier's own.
            (D::CacheWriteLong | D::CacheWriteLongest, None) => {
                let base =
                    |rate: &&Rate| (rate.dimension, rate.tier, rate.above) == (dimension, Tier::Standard, 0);
                self.rates.iter().find(base).map(|rate| rate.femto)
            }
            (D::CacheWriteLong | D::CacheWriteLongest, Some(own)) => Some(own.femto),
            (_, None) => best(Tier::Standard).map(|rate| rate.femto),
            // A quiet hour's prices take the place of any other, and so do a batch's.
            (_, Some(own)) if matches!(tier, Tier::Batch | Tier::OffPeak) => Some(own.femto),
            // The standard price of a longer context counts where the tier has none.
            (_, Some(own)) => match best(Tier::Standard) {
                Some(standard) if standard.above > own.above => Some(standard.femto),
                _ => Some(own.femto),
            },
        }
    }

    /// The dearest rate over these dimensions and tiers for any request of at most `input` input
    /// tokens.
    pub fn dearest(&self, dimensions: &[Dimension], tiers: &[Tier], input: u64) -> u64 {
        let thresholds = self.rates.iter().map(|rate| rate.above).filter(|above| (1..input).contains(above));
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

/// What a dimension is billed as where it has no price of its own.
fn kind_of(dimension: Dimension) -> Option<Dimension> {
    use Dimension as D;
    Some(match dimension {
        D::CacheWriteLong | D::CacheWriteLongest => D::CacheWrite,
        D::AudioCacheRead | D::CacheReadExplicit => D::CacheRead,
        D::CacheRead | D::CacheWrite | D::AudioInput | D::ImageInput | D::VideoInput => D::Input,
        D::Reasoning | D::AudioOutput | D::ImageOutput | D::VideoOutput => D::Output,
        D::WebSearchesLow | D::WebSearchesHigh => D::WebSearches,
        D::OutputVideoTime
        | D::OutputTime480
        | D::OutputTime720
        | D::OutputTime768
        | D::OutputTime1080
        | D::OutputTime2k
        | D::OutputTime4k => D::OutputTime,
        _ => return None,
    })
}
