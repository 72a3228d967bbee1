//! What a run needs to start its steps again, in any process: kept with the run.
//!
//! Owns the record, and what can be read off it. What isolates its steps is `backend`'s, what they may use `limits`', what
//! was said by hand about hosts `said`'s; what a backend could not keep of it is `unkept`'s.

mod backend;
mod limits;
mod said;
mod unkept;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wflo_core::size::Millis;
use wflo_sandbox::Preset;

use crate::clouds::InCloud;
use crate::containers::Containers;
use crate::images::{Image, Packages};
use crate::interpreter::Interpreter;
use crate::program::Program;

pub use self::backend::Backend;
pub use self::limits::Limits;
pub use self::said::{ByHand, Said};
pub use self::unkept::{no_place_for_packages, no_place_for_programs};

/// How the steps of a run are launched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// The project's folder; steps see their workspace at this path.
    pub project: PathBuf,
    /// `workflow.py` or `package.module:attribute`, for code steps.
    pub workflow: Option<String>,
    /// The file of a written definition, for workflows that are not code.
    #[serde(default)]
    pub definition: Option<String>,
    /// Runs code steps.
    pub interpreter: Option<Interpreter>,
    /// What a run of a program that is run as it is starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Program>,
    /// The sealed tree of the project.
    pub sealed: String,
    /// Limits: of the settings, with the definition's laid over them.
    pub sandbox: Limits,
    /// Names of host environment variables passed through.
    pub env: Vec<String>,
    /// Further files and folders to read: source and target.
    pub ro: Vec<(PathBuf, PathBuf)>,
    /// Files and folders that are written directly: source and target.
    pub rw: Vec<(PathBuf, PathBuf)>,
    /// Globs that are never seen.
    pub hide: Vec<String>,
    /// Hosts that steps may reach, as rules of `wflo-egress`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_hosts: Vec<String>,
    /// Hosts that the user keeps out of every run of the project, whatever else says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny_hosts: Vec<String>,
    /// Hosts whose requests over TLS are looked at, beside those of which a rule names a part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inspect_hosts: Vec<String>,
    /// What its steps hold instead of the secrets of hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Placeholder>,
    /// People are asked about a host that no rule names, and the connection is held for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_hosts: Option<Millis>,
    /// Hosts, and parts of hosts, that people are asked about although a rule allows them: rules of the same form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ask_rules: Vec<String>,
    /// What the user has let in for always, where people would be asked about it: answers, and no rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told_hosts: Vec<String>,
    /// For so long a connection that such a rule names is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<Millis>,
    /// Addresses and networks that the names of those hosts may stand for although they are not public.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// What of that was said when it was started, and is not the settings'. A run of before does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<ByHand>,
    /// What people said of hosts, unasked, to the run that it retries, the latest last: it counts like what is said to
    /// this one, and before that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub said_hosts: Vec<Said>,
    /// Limits must be enforced by the kernel.
    pub require_kernel: bool,
    /// What steps may ask the kernel for; with a run of before there were presets, the default.
    #[serde(default)]
    pub preset: Preset,
    /// Where each model provider is, by name; never a key. Nothing of the run is sent anywhere else. A run
    /// of before this was sealed has none, and goes where its process says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub providers: Option<BTreeMap<String, String>>,
    /// Layers that a rollback took back, oldest first, on top of those that it kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undone: Vec<String>,
    /// How paths stood on which layers were made that a retry took over, where its seal has them otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<String>,
    /// What isolates its steps: the same for as long as the run lives.
    #[serde(default)]
    pub backend: Backend,
    /// The packages that its interpreter finds, where the project names some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<Packages>,
    /// The programs of the machine's distribution that its sandboxes have, where the project names some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Image>,
    /// What iterates a set repeats itself in all steps of the run alike, and not in each by a seed of its own, as
    /// in runs of before.
    #[serde(default)]
    pub one_seed: bool,
    /// The containers of a run whose backend is Docker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker: Option<Containers>,
    /// The cloud of a run whose backend is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<InCloud>,
}

/// A secret of hosts, as the steps of a run hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placeholder {
    /// What the settings call it.
    pub name: String,
    /// The variable that holds the placeholder.
    pub env: String,
    /// Nobody can guess it; it is worth nothing.
    pub placeholder: String,
}

impl Launch {
    /// Files and folders of the host that are shown beside the workspace without being named by anybody, each
    /// once.
    pub(crate) fn shown(&self) -> Vec<&PathBuf> {
        // An image has a toolchain of its own.
        if self.in_image() {
            return Vec::new();
        }
        let of_interpreter = self.interpreter.iter().flat_map(|interpreter| &interpreter.folders);
        let of_program = self.program.iter().flat_map(|program| &program.shown);
        let mut shown: Vec<&PathBuf> = Vec::new();
        for place in of_interpreter.chain(of_program) {
            if !shown.iter().any(|known| place.starts_with(known)) {
                shown.push(place);
            }
        }
        shown
    }

    /// Whether requests over TLS are looked at, of one host or another.
    #[must_use]
    pub fn looks(&self) -> bool {
        let is_part =
            |rule: &String| rule.parse().is_ok_and(|rule: wflo_egress::rules::Rule| rule.needs_sight());
        !self.inspect_hosts.is_empty()
            || !self.secrets.is_empty()
            || self.allow_hosts.iter().chain(&self.ask_rules).any(is_part)
            || self.said_hosts.iter().any(|said| is_part(&said.rule))
            // What is kept out of a host has to be told from the rest of it.
            || self.told_hosts.iter().chain(&self.deny_hosts).any(is_part)
    }

    /// Whether its programs find the files of an image or a template, and none of this host's toolchain.
    pub(crate) fn in_image(&self) -> bool {
        self.backend == Backend::E2b
            || self.docker.as_ref().is_some_and(|docker| !docker.image.name.is_empty())
    }

    /// Whether the project is somewhere else inside than it is here.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self.backend, Backend::None | Backend::E2b)
    }
}
