//! What a run needs to start its steps again, in any process: kept with the run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wflo_core::definition::{IoSpec, NetworkSpec, SandboxSpec};
use wflo_core::error::{Code, Coded as _, Failure};
use wflo_core::machine::HostChange;
use wflo_core::size::{Bytes, MilliCpus, Millis};
use wflo_sandbox::{IoLimits, Preset, e2b};

use crate::clouds::InCloud;
use crate::containers::Containers;
use crate::error::EngineError;
use crate::images::{Image, Packages};
use crate::interpreter::Interpreter;
use crate::program::Program;

/// The workflow and the settings name different backends.
const BACKENDS_DIFFER: Code = Code(1012);
/// The backend has no place for packages that were built here.
const NOT_FOR_BACKEND: Code = Code(5336);
/// What is asked for needs isolation, and there is none.
const NOT_ISOLATED: Code = Code(5008);

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

/// What whoever starts a run says of the network by hand, beside the settings. A retry takes it over, and no more: the
/// settings may have changed since.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ByHand {
    /// Hosts that steps may reach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_hosts: Vec<String>,
    /// Addresses that those may stand for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// What people are asked about although a rule allows it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ask_rules: Vec<String>,
    /// People are asked about other hosts.
    pub ask_hosts: bool,
}

/// A host that was let in, or kept out, while a run went on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The host, as a rule.
    pub rule: String,
    /// Whether it may be reached.
    pub allowed: bool,
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

    /// What a retry takes over of this run, to which `since` was said: of the network what was said by hand. What the
    /// settings said then is left to those of today; of a run of before it cannot be told from the rest, which is kept.
    #[must_use]
    pub fn taken_over(mut self, since: &[HostChange]) -> Launch {
        self.said_hosts = self.said_with(since);
        if let Some(by_hand) = &self.by_hand {
            self.allow_hosts.clone_from(&by_hand.allow_hosts);
            self.allow_addresses.clone_from(&by_hand.allow_addresses);
            self.ask_rules.clone_from(&by_hand.ask_rules);
            self.ask_hosts = self.ask_hosts.filter(|_| by_hand.ask_hosts);
        }
        self
    }

    /// What people have said of hosts unasked, to the runs that this one retries and to this one, each host once and the
    /// latest last. Answers are not among it; a no takes back what was let in before it.
    #[must_use]
    pub fn said_with(&self, since: &[HostChange]) -> Vec<Said> {
        let mut said = self.said_hosts.clone();
        for HostChange { rule, allowed, is_answer } in since {
            if *is_answer {
                said.retain(|known| known.rule != *rule || *allowed || !known.allowed);
                continue;
            }
            said.retain(|known| known.rule != *rule);
            said.push(Said { rule: rule.clone(), allowed: *allowed });
        }
        said
    }

    /// Whether a host was let in by that.
    #[must_use]
    pub fn lets_in(&self) -> bool {
        self.said_hosts.iter().any(|said| said.allowed)
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

    /// Refuses what the backend could not keep, before anything is run.
    ///
    /// # Errors
    /// Each setting that it could not keep.
    pub fn check(&self) -> Result<(), EngineError> {
        let refuse = |message: &str, hint: &str| Failure::new(NOT_ISOLATED, message).with_hint(hint);
        let mut problems = Vec::new();
        if self.packages.is_some() {
            problems.extend(no_place_for_packages(self.backend, self.in_image()));
        }
        if self.system.is_some() {
            problems.extend(no_place_for_programs(self.backend));
        }
        if self.backend == Backend::E2b {
            problems.extend(self.unkept_in_cloud());
        }
        if self.backend != Backend::None {
            return if problems.is_empty() { Ok(()) } else { Err(EngineError::Invalid(problems)) };
        }
        if self.require_kernel {
            problems.push(refuse(
                "`require = \"kernel\"` and the backend \"none\" exclude each other: without isolation the kernel enforces nothing",
                "leave one of them out",
            ));
        }
        if !self.allow_hosts.is_empty() {
            problems.push(refuse(
                "allow_hosts needs isolation: with the backend \"none\" nothing keeps a step from any host",
                "leave allow_hosts out, or use the backend \"native\"",
            ));
        }
        if !self.said_hosts.is_empty() {
            problems.push(refuse(
                "what was said with `wflo egress` to the run that is retried needs isolation: with the backend \"none\" nothing keeps a step from any host",
                "start a new run, or use the backend \"native\"",
            ));
        }
        if !self.secrets.is_empty() {
            problems.push(refuse(
                "[secrets] needs isolation: with the backend \"none\" nothing stands between a step and a host",
                "leave it out, or use the backend \"native\"",
            ));
        }
        if self.ask_hosts.is_some() {
            problems.push(refuse(
                "unknown_hosts = \"ask\" needs isolation: with the backend \"none\" nothing keeps a step from any host",
                "leave it out, or use the backend \"native\"",
            ));
        }
        if !self.ask_rules.is_empty() {
            problems.push(refuse(
                "ask_hosts needs isolation: with the backend \"none\" nothing keeps a step from any host",
                "leave ask_hosts out, or use the backend \"native\"",
            ));
        }
        if self.preset == Preset::Strict {
            problems.push(refuse(
                "`preset = \"strict\"` needs isolation: with the backend \"none\" a step may ask the kernel for anything",
                "leave one of them out",
            ));
        }
        if self.sandbox.disk.is_some() {
            problems.push(refuse(
                "disk_limit needs isolation: with the backend \"none\" nothing bounds what a step writes",
                "leave disk_limit out, or use the backend \"native\"",
            ));
        }
        if self.sandbox.inodes.is_some() {
            problems.push(refuse(
                "inodes_limit needs isolation: with the backend \"none\" nothing bounds how many files a step makes",
                "leave inodes_limit out, or use the backend \"native\"",
            ));
        }
        for (source, target) in self.ro.iter().chain(&self.rw).filter(|(source, target)| source != target) {
            problems.push(refuse(
                &format!(
                    "with the backend \"none\" {} cannot be shown at {}",
                    source.display(),
                    target.display()
                ),
                "use the path that it has on this machine for both, or the backend \"native\"",
            ));
        }
        if problems.is_empty() { Ok(()) } else { Err(EngineError::Invalid(problems)) }
    }

    /// What a cloud would not keep.
    fn unkept_in_cloud(&self) -> Vec<Failure> {
        let no_folder = "it sees no folder of this machine; what steps need belongs into the template";
        let asked = [
            (!self.ro.is_empty(), "`ro`", no_folder),
            (!self.rw.is_empty(), "`rw`", no_folder),
            (self.sandbox.disk.is_some(), "disk_limit", "the template decides how large its disk is"),
            (
                self.sandbox.inodes.is_some(),
                "inodes_limit",
                "the template decides how many files its disk has room for",
            ),
            (
                self.require_kernel,
                "`require = \"kernel\"`",
                "its kernel is the cloud's, and limits are watched over",
            ),
        ];
        let asked = asked.into_iter().filter(|(asked, ..)| *asked);
        asked.map(|(_, setting, why)| e2b::Error::Unkept { setting, why }.to_failure()).collect()
    }
}

/// Why packages that are installed here are none for steps of this backend; `None` where they are.
#[must_use]
pub fn no_place_for_packages(backend: Backend, is_image: bool) -> Option<Failure> {
    let (message, hint) = match backend {
        Backend::None => (
            "requirements are shown to sandboxes, and with the backend \"none\" there are none",
            "install them into the project's virtual environment, or use the backend \"native\"",
        ),
        Backend::Docker if is_image => (
            "requirements are installed for a Python of this machine, and steps of an image have its own",
            "install them into the image, or leave `image` or `requirements` out",
        ),
        Backend::E2b => (
            "requirements are installed for a Python of this machine, and steps in a cloud have the template's",
            "install them into the template, or leave `requirements` out",
        ),
        Backend::Native | Backend::Docker => return None,
    };
    Some(Failure::new(NOT_FOR_BACKEND, message).with_hint(hint))
}

/// Why programs of this machine's distribution are none for steps of this backend; `None` where they are.
#[must_use]
pub fn no_place_for_programs(backend: Backend) -> Option<Failure> {
    let (message, hint) = match backend {
        Backend::Native => return None,
        Backend::None => (
            "packages are shown to sandboxes, and with the backend \"none\" there are none",
            "install them on this machine, or use the backend \"native\"",
        ),
        Backend::Docker => (
            "packages are fetched for this machine's toolchain, which containers are not laid over",
            "use an `image` that has them and leave `packages` out, or use the backend \"native\"",
        ),
        Backend::E2b => (
            "packages are fetched for this machine, and steps in a cloud have the programs of their template",
            "install them into the template, and leave `packages` out",
        ),
    };
    Some(Failure::new(NOT_FOR_BACKEND, message).with_hint(hint))
}

/// What keeps steps from the rest of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Linux namespaces, made by wflo itself.
    #[default]
    Native,
    /// Containers.
    Docker,
    /// Sandboxes of a cloud that speaks E2B's API.
    E2b,
    /// Nothing; asked for by name.
    None,
}

impl Backend {
    /// Its name in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Native => "native",
            Backend::Docker => "docker",
            Backend::E2b => "e2b",
            Backend::None => "none",
        }
    }

    /// The backend with a name.
    pub fn named(name: &str) -> Option<Backend> {
        [Backend::Native, Backend::Docker, Backend::E2b, Backend::None]
            .into_iter()
            .find(|backend| backend.name() == name)
    }

    /// Whoever starts the run decides, by an option or by the settings. A workflow may insist on a
    /// backend, and does not choose one: its definition comes from code that is not trusted, which must
    /// not take off the walls around itself.
    ///
    /// # Errors
    /// When the workflow wants another one.
    pub fn choose(
        given: Option<Backend>,
        settings: Option<Backend>,
        workflow: Option<Backend>,
    ) -> Result<Backend, EngineError> {
        if let Some(given) = given {
            return Ok(given);
        }
        let chosen = settings.unwrap_or_default();
        match workflow.filter(|wanted| *wanted != chosen) {
            None => Ok(chosen),
            Some(wanted) => {
                let message = format!(
                    "the workflow says backend=\"{}\", and it is started with \"{}\"",
                    wanted.name(),
                    chosen.name()
                );
                let hint = format!(
                    "a workflow cannot choose this by itself: say it yourself, with --sandbox {} or as backend under [sandbox] in wflo.toml",
                    wanted.name()
                );
                Err(EngineError::Invalid(vec![Failure::new(BACKENDS_DIFFER, message).with_hint(hint)]))
            }
        }
    }
}

/// Limits of one attempt's sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of the whole tree.
    pub memory: Option<Bytes>,
    /// Processor share of the whole tree.
    pub cpus: Option<MilliCpus>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// All that is written inside.
    pub disk: Option<Bytes>,
    /// Files, folders and links there together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u32>,
    /// What goes from disks and to them in a second.
    #[serde(default, skip_serializing_if = "IoLimits::is_empty")]
    pub io: IoLimits,
    /// What goes to hosts and from them.
    #[serde(default, skip_serializing_if = "NetworkSpec::is_empty")]
    pub network: NetworkSpec,
    /// The longest an attempt may be active.
    pub timeout: Option<Millis>,
}

/// What a step may use where nobody says anything.
const USUAL: Limits = Limits {
    memory: Some(Bytes(2 << 30)),
    cpus: None,
    pids: Some(1024),
    disk: Some(Bytes(1 << 30)),
    // A name per 4 KiB of the disk.
    inodes: None,
    io: IoLimits { read: None, write: None, read_ops: None, write_ops: None },
    // The proxy's own.
    network: NetworkSpec {
        sent: None,
        received: None,
        requests: None,
        connections: None,
        requests_per_minute: None,
    },
    timeout: None,
};

impl Limits {
    /// These, which are the operator's, with what the definition adds: it may narrow and never raise,
    /// because it comes from code that is not trusted.
    #[must_use]
    pub fn with(self, spec: &SandboxSpec) -> Self {
        Limits {
            memory: narrower(self.memory, spec.memory_limit),
            cpus: narrower(self.cpus, spec.cpu_limit),
            pids: narrower(self.pids, spec.pids_limit),
            disk: narrower(self.disk, spec.disk_limit),
            inodes: narrower(self.inodes, spec.inodes_limit),
            io: narrower_io(self.io, spec.io),
            network: self.network.narrowed(spec.network),
            timeout: narrower(self.timeout, spec.timeout_seconds),
        }
    }

    /// The usual limits where there is none, for a backend that can keep them.
    #[must_use]
    pub fn or_usual(self, backend: Backend) -> Self {
        if backend == Backend::None {
            return self;
        }
        Limits {
            memory: self.memory.or(USUAL.memory),
            cpus: self.cpus.or(USUAL.cpus),
            pids: self.pids.or(USUAL.pids),
            // How large a cloud's disk is, is not decided here.
            disk: if backend == Backend::E2b { self.disk } else { self.disk.or(USUAL.disk) },
            inodes: self.inodes,
            io: self.io,
            network: self.network,
            timeout: self.timeout.or(USUAL.timeout),
        }
    }
}

fn narrower<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn narrower_io(one: IoLimits, other: IoSpec) -> IoLimits {
    IoLimits {
        read: narrower(one.read, other.read),
        write: narrower(one.write, other.write),
        read_ops: narrower(one.read_ops, other.read_ops),
        write_ops: narrower(one.write_ops, other.write_ops),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A launch with what is said of its network.
    fn launch(network: serde_json::Value) -> Launch {
        let mut all = json!({
            "project": "/p", "workflow": null, "interpreter": null, "sealed": "", "sandbox": Limits::default(),
            "env": [], "ro": [], "rw": [], "hide": [], "require_kernel": false,
        });
        all.as_object_mut().unwrap().extend(network.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn change(rule: &str, allowed: bool, is_answer: bool) -> HostChange {
        HostChange { rule: rule.to_owned(), allowed, is_answer }
    }

    #[test]
    fn a_retry_takes_over_what_was_said_by_hand_and_nothing_of_the_settings() {
        let network = json!({
            "allow_hosts": ["settings.example", "hand.example"], "allow_addresses": ["10.0.0.0/8"],
            "ask_rules": ["asked.example"], "ask_hosts": Millis(10_000),
        });
        let mut new = network.clone();
        new["by_hand"] = json!({ "allow_hosts": ["hand.example"] });
        let taken = launch(new).taken_over(&[]);
        assert_eq!(taken.allow_hosts, ["hand.example"]);
        assert!(taken.allow_addresses.is_empty() && taken.ask_rules.is_empty() && taken.ask_hosts.is_none());
        let mut asking = network.clone();
        asking["by_hand"] = json!({ "ask_rules": ["asked.example"], "ask_hosts": true });
        let taken = launch(asking).taken_over(&[]);
        assert!(taken.allow_hosts.is_empty() && taken.ask_hosts.is_some());
        assert_eq!(taken.ask_rules, ["asked.example"]);
        // A run of before does not know what came from where.
        assert_eq!(launch(network.clone()).taken_over(&[]), launch(network));
    }

    #[test]
    fn what_was_said_unasked_goes_from_retry_to_retry_and_answers_do_not() {
        let said = |rule: &str, allowed| Said { rule: rule.to_owned(), allowed };
        let first = launch(json!({})).taken_over(&[
            change("a.example", true, false),
            change("b.example", false, false),
            change("c.example", true, true),
            change("d.example", false, true),
        ]);
        assert_eq!(first.said_hosts, [said("a.example", true), said("b.example", false)]);
        assert!(first.lets_in());
        let second = first.taken_over(&[
            // A yes lifts nothing that was kept out unasked; a no takes back what was let in.
            change("b.example", true, true),
            change("a.example", false, true),
            change("e.example", true, false),
        ]);
        assert_eq!(second.said_hosts, [said("b.example", false), said("e.example", true)]);
        let third = second.taken_over(&[change("b.example", true, false)]);
        assert_eq!(third.said_hosts, [said("e.example", true), said("b.example", true)]);
    }

    #[test]
    fn a_definition_lowers_each_limit_on_disks_and_raises_none() {
        let io = |read, write, read_ops| IoLimits { read, write, read_ops, write_ops: None };
        let operator = Limits { io: io(Some(Bytes(10)), Some(Bytes(20)), None), ..Limits::default() };
        let asked =
            IoSpec { read: Some(Bytes(30)), write: Some(Bytes(5)), read_ops: Some(7), write_ops: None };
        let narrowed = operator.with(&SandboxSpec { io: asked, ..SandboxSpec::default() });
        assert_eq!(narrowed.io, io(Some(Bytes(10)), Some(Bytes(5)), Some(7)));
        assert_eq!(operator.with(&SandboxSpec::default()).io, operator.io, "what is left out stands");
    }

    #[test]
    fn whoever_starts_the_run_decides_and_nobody_else_lowers_a_wall() {
        let choose = |given, settings, workflow| Backend::choose(given, settings, workflow).ok();
        let (native, none) = (Some(Backend::Native), Some(Backend::None));
        assert_eq!(choose(None, None, None), native);
        assert_eq!(choose(None, none, None), none);
        assert_eq!(choose(None, None, none), None, "code does not take off a wall");
        assert_eq!(choose(None, native, none), None);
        assert_eq!(choose(None, none, none), none);
        assert_eq!(choose(None, none, native), None);
        assert_eq!(choose(native, none, none), native);
        assert_eq!(choose(none, native, native), none);
    }

    #[test]
    fn a_run_of_an_earlier_release_is_isolated() {
        assert_eq!(Backend::default(), Backend::Native);
        assert_eq!(Backend::named("none"), Some(Backend::None));
        assert_eq!(Backend::named("docker"), Some(Backend::Docker));
        assert_eq!(Backend::named("e2b"), Some(Backend::E2b));
        assert_eq!(Backend::named("gvisor"), None);
    }
}
