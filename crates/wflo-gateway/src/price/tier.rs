//! The service tiers that prices differ by.

/// The service tier that a call was served at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
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
    /// In a batch, answered within a day.
    Batch,
    /// At the hours at which the provider asks for less, whatever the tier.
    OffPeak,
}

impl Tier {
    /// Every tier.
    pub const ALL: [Tier; 7] = [
        Tier::Standard,
        Tier::Flex,
        Tier::Priority,
        Tier::Ultrafast,
        Tier::Balanced,
        Tier::Batch,
        Tier::OffPeak,
    ];

    /// The tier that a provider's `service_tier` names; an unknown name is the standard tier's.
    pub fn named(name: &str) -> Tier {
        match name {
            "flex" => Tier::Flex,
            "priority" | "fast" => Tier::Priority,
            "ultrafast" => Tier::Ultrafast,
            "balanced" => Tier::Balanced,
            "batch" => Tier::Batch,
            _ => Tier::Standard,
        }
    }

    /// The tier that an answer says served it; `None` for a word that names no price, such as `scale`.
    pub fn served(name: &str) -> Option<Tier> {
        match Tier::named(&name.to_ascii_lowercase()) {
            Tier::Standard => ["standard", "default"]
                .iter()
                .any(|base| name.eq_ignore_ascii_case(base))
                .then_some(Tier::Standard),
            other => Some(other),
        }
    }

    /// The name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Tier::Standard => "standard",
            Tier::Flex => "flex",
            Tier::Priority => "priority",
            Tier::Ultrafast => "ultrafast",
            Tier::Balanced => "balanced",
            Tier::Batch => "batch",
            Tier::OffPeak => "off_peak",
        }
    }
}
