//! What a program may ask the kernel for, in three sizes.
//!
//! How much it may use is no part of it: limits stand beside it.

use serde::{Deserialize, Serialize};

/// One of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// For code that nobody has read: nothing that it wrote is executed, sockets are Unix ones and TCP, and
    /// System V and POSIX queues, `memfd_create` and `splice` do not exist.
    Strict,
    /// For agents and their tools.
    #[default]
    Default,
    /// To build and debug in: a program may trace those of its own sandbox.
    Build,
}

impl Preset {
    /// All of them, the narrowest first.
    pub const ALL: [Preset; 3] = [Preset::Strict, Preset::Default, Preset::Build];

    /// Its name in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Preset::Strict => "strict",
            Preset::Default => "default",
            Preset::Build => "build",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Preset::ALL.into_iter().find(|preset| preset.name() == name)
    }
}

impl std::fmt::Display for Preset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Preset {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Preset::named(name).ok_or_else(|| format!("`{name}` is not a preset: use strict, default or build"))
    }
}
