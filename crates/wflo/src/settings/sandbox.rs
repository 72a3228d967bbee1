//! `[sandbox]`: what steps run in.

use wflo_core::definition::{NetworkSpec, SandboxSpec};
use wflo_core::error::Coded as _;
use wflo_core::size::{Bytes, MilliCpus, Millis};
use wflo_egress::RuleError;
use wflo_egress::address::Net;
use wflo_egress::rules::Rule;
pub(crate) use wflo_engine::launch::Backend;
use wflo_sandbox::docker::{Options, Pull};
use wflo_sandbox::{IoLimits, Preset};

use super::{CloudSettings, Packages};
use crate::document::{Field, Kind, Problem, Reader};

/// The settings of sandboxes; an absent limit is the backend's default.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    pub(crate) backend: Option<Backend>,
    pub(crate) memory_limit: Option<Bytes>,
    pub(crate) cpu_limit: Option<MilliCpus>,
    pub(crate) pids_limit: Option<u32>,
    pub(crate) disk_limit: Option<Bytes>,
    pub(crate) inodes_limit: Option<u32>,
    /// `[sandbox.io]`.
    pub(crate) io: IoLimits,
    /// `[sandbox.network]`.
    pub(crate) network: NetworkSpec,
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
    /// What people are asked about although a rule allows it, each read as a rule.
    pub(crate) ask_rules: Vec<String>,
    /// People are asked about other hosts.
    pub(crate) ask_hosts: bool,
    /// For so long a connection is held while they are.
    pub(crate) patience: Millis,
    /// Hosts whose requests over TLS are looked at.
    pub(crate) inspect_hosts: Vec<String>,
    /// A PEM file with further authorities that vouch for hosts.
    pub(crate) ca_file: Option<std::path::PathBuf>,
    /// Addresses that are no public ones and may be reached under the names of those hosts.
    pub(crate) allow_addresses: Vec<String>,
    /// Paths in the workspace that the sandbox must not see.
    pub(crate) hide: Vec<String>,
    /// What is installed for steps.
    pub(crate) packages: Packages,
    /// What the backend `docker` makes its containers of.
    pub(crate) docker: Options,
    /// Where the sandboxes of the backend `e2b` are.
    pub(crate) cloud: CloudSettings,
}

/// How long a connection to an unknown host is held where nothing is said: people may look elsewhere for a
/// moment, and clients that wait for longer are rare.
const PATIENCE: Millis = Millis(120_000);

/// What to do about a limit of the network that is none.
const OUT_OF_RANGE: &str =
    "leave allow_hosts out where nothing is to be reached, and the limit where the usual one will do";

impl Default for Sandbox {
    fn default() -> Self {
        Sandbox {
            backend: None,
            memory_limit: None,
            cpu_limit: None,
            pids_limit: None,
            disk_limit: None,
            inodes_limit: None,
            io: IoLimits::default(),
            network: NetworkSpec::default(),
            timeout: None,
            require_kernel: false,
            preset: Preset::default(),
            env: Vec::new(),
            ro: Vec::new(),
            rw: Vec::new(),
            allow_hosts: Vec::new(),
            ask_rules: Vec::new(),
            ask_hosts: false,
            patience: PATIENCE,
            inspect_hosts: Vec::new(),
            ca_file: None,
            allow_addresses: Vec::new(),
            hide: Vec::new(),
            packages: Packages::default(),
            docker: Options::default(),
            cloud: CloudSettings::default(),
        }
    }
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
#[error(
    "`{given}` is not a mount: write SOURCE:TARGET with an absolute target and no `..`, such as ./models:/models"
)]
pub(crate) struct ParseMountError {
    given: String,
}

impl std::str::FromStr for Mount {
    type Err = ParseMountError;

    fn from_str(text: &str) -> Result<Self, ParseMountError> {
        let (source, target) = text.split_once(':').unwrap_or((text, text));
        // Behind a link, `..` is another folder to whoever follows it and to whoever reads it.
        let climbs = |path: &str| path.split('/').any(|part| part == "..");
        let is_none = source.is_empty() || !target.starts_with('/') || target.contains(':');
        if is_none || climbs(source) || climbs(target) {
            return Err(ParseMountError { given: text.to_owned() });
        }
        Ok(Mount { source: source.to_owned(), target: target.to_owned() })
    }
}

/// Reads a backend's name; one that is another's setting is refused with what to use.
///
/// # Errors
/// What to tell the user.
pub(crate) fn parse_backend(name: &str) -> Result<Backend, String> {
    match (Backend::named(name), name) {
        (Some(backend), _) => Ok(backend),
        (None, "gvisor") => Err(
            "gVisor is a runtime of the backend \"docker\": write backend = \"docker\" and runtime = \"runsc\""
                .to_owned(),
        ),
        (None, _) => Err(format!(
            "\"{name}\" is not a sandbox backend; use \"native\", \"docker\", \"e2b\" or \"none\""
        )),
    }
}

impl Sandbox {
    /// Reads `[sandbox]` of the settings file.
    pub(super) fn read(field: &Field<'_>, root: &std::path::Path) -> Result<Self, Problem> {
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
        if let Some(field) = reader.optional("inspect_hosts") {
            sandbox.inspect_hosts = each_read::<Rule>(&field)?;
            let is_part = |host: &String| !host.parse::<Rule>().is_ok_and(|rule| rule.is_only_a_host());
            if sandbox.inspect_hosts.iter().any(is_part) {
                return Err(field.wrong("hosts, each with or without a port, such as [\"api.example.org\"]"));
            }
        }
        sandbox.ca_file =
            reader.optional("ca_file").map(|field| field.name().map(|file| root.join(file))).transpose()?;
        if let Some(field) = reader.optional("ask_hosts") {
            sandbox.ask_rules = each_read::<Rule>(&field)?;
            let by_calls = |rule: &String| rule.contains(" tools=") || rule.contains(" graphql=");
            if sandbox.ask_rules.iter().any(by_calls) {
                return Err(field.wrong(
                    "rules without tools= and graphql=: a request is asked about by its method and path",
                ));
            }
        }
        let asks = [("deny", false), ("ask", true)];
        let asks = reader.optional("unknown_hosts").map(|field| field.choice(&asks)).transpose()?;
        let patience =
            reader.optional("ask_timeout_seconds").map(|field| read_seconds(&field)).transpose()?;
        sandbox.patience = patience.unwrap_or(PATIENCE);
        sandbox.ask_hosts = asks == Some(true);
        sandbox.rw = mounts(reader.optional("rw"))?;
        sandbox.docker = containers(&mut reader)?;
        sandbox.packages = Packages::read(&mut reader)?;
        let cloud = reader.optional("e2b").map(|field| CloudSettings::read(&field, root)).transpose()?;
        sandbox.cloud = cloud.unwrap_or_default();
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
            let refuse = |message| Problem::new(Kind::WrongValue, &field.node.origin, message);
            sandbox.backend = Some(parse_backend(name).map_err(refuse)?);
        }
        sandbox.memory_limit =
            reader.optional("memory_limit").map(|field| read_memory(&field)).transpose()?;
        sandbox.cpu_limit = reader.optional("cpu_limit").map(|field| field.parse()).transpose()?;
        sandbox.pids_limit = reader.optional("pids_limit").map(|field| read_pids(&field)).transpose()?;
        sandbox.disk_limit = reader.optional("disk_limit").map(|field| field.parse()).transpose()?;
        sandbox.inodes_limit =
            reader.optional("inodes_limit").map(|field| read_inodes(&field)).transpose()?;
        sandbox.io = reader.optional("io").map(|field| read_io(&field)).transpose()?.unwrap_or_default();
        let bounds = reader.optional("network").map(|field| read_network(&field)).transpose()?;
        sandbox.network = bounds.unwrap_or_default();
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

fn containers(reader: &mut Reader<'_>) -> Result<Options, Problem> {
    let mut options = Options::default();
    if let Some(field) = reader.optional("image") {
        options.image = Some(field.text()?.to_owned());
    }
    if let Some(field) = reader.optional("runtime") {
        options.runtime = Some(field.text()?.to_owned());
    }
    if let Some(field) = reader.optional("pull") {
        let policies = [("never", Pull::Never), ("missing", Pull::Missing), ("always", Pull::Always)];
        options.pull = field.choice(&policies)?;
    }
    if let Some(field) = reader.optional("require_scan") {
        options.require_scan = field.boolean()?;
    }
    Ok(options)
}

fn network(field: &Field<'_>, message: &str) -> Problem {
    field
        .problem(Kind::Later, message)
        .hint("name the hosts that steps may reach: allow_hosts = [\"api.example.org\"]")
}

/// Texts that are read here, so that a wrong one is told with its line, and kept as they are written.
pub(super) fn each_read<T>(field: &Field<'_>) -> Result<Vec<String>, Problem>
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

/// A limit of 0 would let nothing through, and a control group takes it for none.
fn read_io(field: &Field<'_>) -> Result<IoLimits, Problem> {
    let mut reader = field.table()?;
    let mut bytes = |key| {
        let field = reader.optional(key);
        field.map(|field| match field.parse()? {
            Bytes(0) => Err(field.wrong("at least 1 byte a second")),
            bytes => Ok(bytes),
        })
    };
    let (read, write) = (bytes("read").transpose()?, bytes("write").transpose()?);
    let mut operations = |key| reader.optional(key).map(|field| read_pids(&field)).transpose();
    let io = IoLimits { read, write, read_ops: operations("read_ops")?, write_ops: operations("write_ops")? };
    reader.finish()?;
    Ok(io)
}

/// What no interpreter starts in was meant to have a unit.
fn read_memory(field: &Field<'_>) -> Result<Bytes, Problem> {
    match field.parse()? {
        Bytes(few) if few < 4 << 20 => Err(field.wrong("at least 4m; a number without a unit is bytes")),
        bytes => Ok(bytes),
    }
}

/// One limit, put where it belongs.
type Put<T> = fn(T) -> NetworkSpec;

/// Each limit is judged where it stands, so that a wrong one is told with its line.
fn read_network(field: &Field<'_>) -> Result<NetworkSpec, Problem> {
    let mut reader = field.table()?;
    let mut read = NetworkSpec::default();
    let sound = |field: &Field<'_>, only: NetworkSpec| match only.out_of_range().next() {
        None => Ok(only),
        Some((_, most)) => Err(field.wrong(format!("at least 1 and at most {most}")).hint(OUT_OF_RANGE)),
    };
    let sizes: [(&str, Put<Bytes>); 2] = [
        ("sent", |bytes| NetworkSpec { sent: Some(bytes), ..NetworkSpec::default() }),
        ("received", |bytes| NetworkSpec { received: Some(bytes), ..NetworkSpec::default() }),
    ];
    for (key, put) in sizes {
        if let Some(field) = reader.optional(key) {
            read = read.narrowed(sound(&field, put(field.parse()?))?);
        }
    }
    let counts: [(&str, Put<u32>); 3] = [
        ("requests", |count| NetworkSpec { requests: Some(count), ..NetworkSpec::default() }),
        ("connections", |count| NetworkSpec { connections: Some(count), ..NetworkSpec::default() }),
        ("requests_per_minute", |count| NetworkSpec {
            requests_per_minute: Some(count),
            ..NetworkSpec::default()
        }),
    ];
    for (key, put) in counts {
        if let Some(field) = reader.optional(key) {
            read = read.narrowed(sound(&field, put(field.whole()?))?);
        }
    }
    reader.finish()?;
    Ok(read)
}

fn read_inodes(field: &Field<'_>) -> Result<u32, Problem> {
    let range = SandboxSpec::INODES;
    match field.whole()? {
        inodes if range.contains(&inodes) => Ok(inodes),
        _ => Err(field.wrong(format!("from {} to {}", range.start(), range.end()))),
    }
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
