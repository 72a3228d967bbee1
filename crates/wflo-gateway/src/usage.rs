//! What a call used, in wflo's own dimensions.
//!
//! Owns the normalised counts. Reading them out of a provider's JSON belongs to the dialect;
//! turning them into money belongs to `price`. Every token is in exactly one count.

use crate::price::Tier;

/// Tokens of one call, each in exactly one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Input tokens that came from no cache and are not audio.
    pub input: u64,
    /// Input tokens read from the provider's cache.
    pub cache_read: u64,
    /// Input tokens written to the provider's cache.
    pub cache_write: u64,
    /// Input tokens written to the provider's cache for an hour.
    pub cache_write_long: u64,
    /// Audio tokens of the input.
    pub audio_input: u64,
    /// Output tokens that are neither reasoning nor audio.
    pub output: u64,
    /// Output tokens spent on reasoning.
    pub reasoning: u64,
    /// Audio tokens of the output.
    pub audio_output: u64,
    /// The tier that served the call.
    #[serde(skip)]
    pub tier: Tier,
    /// Inference was kept in the United States, at a higher price.
    #[serde(skip)]
    pub geo_us: bool,
    /// Served in the provider's fast mode, at a higher price.
    #[serde(skip)]
    pub fast: bool,
}

impl Usage {
    /// All input tokens, cached ones included.
    pub fn total_input(&self) -> u64 {
        [self.cache_read, self.cache_write, self.cache_write_long, self.audio_input]
            .into_iter()
            .fold(self.input, u64::saturating_add)
    }

    /// All output tokens, reasoning included.
    pub fn total_output(&self) -> u64 {
        self.output.saturating_add(self.reasoning).saturating_add(self.audio_output)
    }
}
