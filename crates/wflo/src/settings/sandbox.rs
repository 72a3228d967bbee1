//! `[sandbox]`: what steps run in.

use wflo_core::error::Coded as _;
use wflo_core::size::{Bytes, MilliCpus, Millis};
use wflo_egress::RuleError;
use wflo_egress::address::Net;
use wflo_egress::rules::Rule;
pub(crate) use wflo_engine::launch::Backend;
use wflo_sandbox::Preset;

use crate::document::{Field, Kind, Problem, Reader};

/// The settings of sandboxes; an absent limit is the backend's default.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sandbox {
    pub(crate) backend: Option<Backend>,
    pub(crate) memory_limit: Option<Bytes>,
    pub(crate) cpu_limit: Option<MilliCpus>,
    pub(crate) pids_limit: Option<u32>,
    pub(crate) disk_limit: Option<Bytes>,
    pub(crate) timeout: Option<Millis>,
    /// Refuse when a limit would be enforced by anything weaker than the kernel.
    pub(crate) require_kernel: bool,
    /// What steps may ask the kernel for.
    pub(crate) preset: Preset,
    /// Names of variables that pass through.
    pub(crate) env: Vec<String>,
    /// Further read-only mounts.
    pub(crate) ro: Vec<Mount>,
    /// Further writable mounts: the host's own files, without copy-on-write.
    pub(crate) rw: Vec<Mount>,
    /// Hosts that steps may reach, each read as a rule.
    pub(crate) allow_hosts: Vec<String>,
    /// Addresses that are no public ones and may be reached under the names of those hosts.
    pub(crate) allow_addresses: Vec<String>,
    /// Paths in the workspace that the sandbox must not see.
    pub(crate) hide: Vec<String>,
}

/// `source:target`, or one path for both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) source: String,
    pub(crate) target: String,
}

impl Mount {
    /// Where it comes from, as seen from the project, and where it is shown.
    pub(crate) fn places(&self, root: &std::path::Path) -> (std::path::PathBuf, std::path::PathBuf) {
        (root.join(&self.source), self.target.clone().into())
    }
}

/// A text that is not a mount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a mount: write SOURCE:TARGET with an absolute target, such as ./models:/models")]
pub(crate) struct ParseMountError {
    given: String,
}

impl std::str::FromStr for Mount {
    type Err = ParseMountError;

    fn from_str(text: &str) -> Result<Self, ParseMountError> {
        let (source, target) = text.split_once(':').unwrap_or((text, text));
        if source.is_empty() || !target.starts_with('/') || target.contains(':') {
            return Err(ParseMountError { given: text.to_owned() });
        }
        Ok(Mount { source: source.to_owned(), target: target.to_owned() })
    }
}

/// Reads a backend's name; a known one of a later release is refused with what to use.
///
/// # Errors
/// What to tell the user: the refusal and its hint.
pub(crate) fn parse_backend(name: &str) -> Result<Backend, (Kind, String)> {
    match (Backend::named(name), name) {
        (Some(backend), _) => Ok(backend),
        (None, "docker" | "gvisor" | "e2b") => Err((
            Kind::Later,
            format!("the sandbox backend \"{name}\" belongs to a later release; use \"native\""),
        )),
        (None, _) => Err((
            Kind::WrongValue,
            format!("\"{name}\" is not a sandbox backend; use \"native\" or \"none\""),
        )),
    }
}

impl Sandbox {
    /// Reads `[sandbox]` of the settings file.
    pub(super) fn read(field: &Field<'_>) -> Result<Self, Problem> {
        let mut reader = field.table()?;
        let mut sandbox = Sandbox::read_shared(&mut reader)?;
        if let Some(field) = reader.optional("require") {
            sandbox.require_kernel = field.choice(&[("kernel", true)])?;
        }
        if let Some(field) = reader.optional("preset") {
            sandbox.preset = field.choice(&Preset::ALL.map(|preset| (preset.name(), preset)))?;
        }
        sandbox.ro = mounts(reader.optional("ro"))?;
        if let Some(field) = reader.optional("allow_addresses") {
            sandbox.allow_addresses = each_read::<Net>(&field)?;
        }
        sandbox.rw = mounts(reader.optional("rw"))?;
        reader.finish()?;
        Ok(sandbox)
    }

    /// Reads the `sandbox` table of a workflow, which may not ask for mounts.
    pub(crate) fn read_requested(field: &Field<'_>) -> Result<Self, Problem> {
        let mut reader = field.table()?;
        let sandbox = Sandbox::read_shared(&mut reader)?;
        reader.finish()?;
        Ok(sandbox)
    }

    fn read_shared(reader: &mut Reader<'_>) -> Result<Self, Problem> {
        let mut sandbox = Sandbox::default();
        if let Some(field) = reader.optional("backend") {
            let name = field.text()?;
            let refuse = |(kind, message)| Problem::new(kind, &field.node.origin, message);
            sandbox.backend = Some(parse_backend(name).map_err(refuse)?);
        }
        sandbox.memory_limit = reader.optional("memory_limit").map(|field| field.parse()).transpose()?;
        sandbox.cpu_limit = reader.optional("cpu_limit").map(|field| field.parse()).transpose()?;
        sandbox.pids_limit = reader.optional("pids_limit").map(|field| read_pids(&field)).transpose()?;
        sandbox.disk_limit = reader.optional("disk_limit").map(|field| field.parse()).transpose()?;
        sandbox.timeout = reader.optional("timeout_seconds").map(|field| read_seconds(&field)).transpose()?;
        sandbox.env = texts(reader.optional("env"))?;
        sandbox.hide = texts(reader.optional("hide"))?;
        if let Some(field) = reader.optional("network_enabled")
            && field.boolean()?
        {
            return Err(network(&field, "= true belongs to a later release"));
        }
        if let Some(field) = reader.optional("allow_hosts") {
            sandbox.allow_hosts = each_read::<Rule>(&field)?;
        }
        Ok(sandbox)
    }
}

fn network(field: &Field<'_>, message: &str) -> Problem {
    field
        .problem(Kind::Later, message)
        .hint("name the hosts that steps may reach: allow_hosts = [\"api.example.org\"]")
}

/// Texts that are read here, so that a wrong one is told with its line, and kept as they are written.
fn each_read<T>(field: &Field<'_>) -> Result<Vec<String>, Problem>
where
    T: std::str::FromStr,
    RuleError: From<T::Err>,
{
    let texts = field.texts()?;
    for text in &texts {
        if let Err(error) = text.parse::<T>().map_err(RuleError::from) {
            let problem = field.problem(Kind::WrongValue, format!(": {error}"));
            return Err(problem.hint(error.hint().unwrap_or_default()));
        }
    }
    Ok(texts)
}

fn read_pids(field: &Field<'_>) -> Result<u32, Problem> {
    match field.whole()? {
        0 => Err(field.wrong("at least 1")),
        pids => Ok(pids),
    }
}

/// Seconds, or a duration such as `5m`; not zero.
pub(crate) fn read_seconds(field: &Field<'_>) -> Result<Millis, Problem> {
    match field.parse()? {
        Millis(0) => Err(field.wrong("longer than nothing")),
        span => Ok(span),
    }
}

fn texts(field: Option<Field<'_>>) -> Result<Vec<String>, Problem> {
    field.map_or(Ok(Vec::new()), |field| field.texts())
}

fn mounts(field: Option<Field<'_>>) -> Result<Vec<Mount>, Problem> {
    let Some(field) = field else { return Ok(Vec::new()) };
    let read = |text: String| {
        text.parse().map_err(|error: ParseMountError| field.problem(Kind::WrongValue, format!(": {error}")))
    };
    field.texts()?.into_iter().map(read).collect()
}
