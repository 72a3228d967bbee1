//! How long a step rests before it is tried again.

use serde::{Deserialize, Serialize};

use super::yes;
use crate::size::Millis;

/// Exponential backoff between generations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// The first wait.
    #[serde(default = "Backoff::default_initial")]
    pub initial_seconds: Millis,
    /// What each wait is multiplied by.
    #[serde(default = "Backoff::default_factor")]
    pub factor: f64,
    /// The longest wait.
    #[serde(default = "Backoff::default_max")]
    pub max_seconds: Millis,
    /// Whether a wait is drawn from its upper half.
    #[serde(default = "yes")]
    pub jitter: bool,
}

impl Backoff {
    const fn default_initial() -> Millis {
        Millis(1_000)
    }
    const fn default_factor() -> f64 {
        2.0
    }
    const fn default_max() -> Millis {
        Millis(60_000)
    }

    /// The wait before generation `failures + 1`. `draw` in 0..1 comes from outside.
    pub fn wait(&self, failures: u32, draw: f64) -> Millis {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let full =
            (self.initial_seconds.0 as f64 * self.factor.powi(exponent)).min(self.max_seconds.0 as f64);
        let share = if self.jitter { 0.5 + draw.clamp(0.0, 1.0) / 2.0 } else { 1.0 };
        Millis((full * share) as u64)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            initial_seconds: Self::default_initial(),
            factor: Self::default_factor(),
            max_seconds: Self::default_max(),
            jitter: true,
        }
    }
}
