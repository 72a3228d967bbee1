//! `wflo sandbox …`.

mod images;
mod serve;

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use wflo_core::size::{Bytes, MilliCpus, Millis};
use wflo_egress::rules::Rule;
use wflo_sandbox::Preset;

use super::value::rate;
use crate::settings::Mount;

pub(crate) use self::images::{ImagesCommand, PruneImagesArgs};
pub(crate) use self::serve::ServeArgs;

const EXEC_HELP: &str = "\
Examples:
  wflo sandbox exec -- id
  wflo sandbox exec --workspace . -- bash             A shell in this folder
  wflo sandbox exec --workspace . -- make test        In this folder; writes go to a copy, thrown away at the end
  wflo sandbox exec --workspace . --memory 512m --timeout 10s -- python3 script.py
  wflo sandbox exec --workspace . --keep -- make      The copy's changes are kept; where is printed
  wflo sandbox exec --ro ./models:/models --env LANG=C -- ./agent
  wflo sandbox exec --allow-host pypi.org -- curl https://pypi.org/simple/
  wflo sandbox exec --ask-hosts -- npx create-thing   Each host that it wants to reach is asked about, here
  wflo sandbox exec --sandbox docker --image python:3.12 --runtime runsc -- python3 -V
  wflo sandbox exec --sandbox e2b --workspace . -- make test    In the cloud that E2B_API_KEY opens

Without --workspace the command starts in an empty folder, /workspace. `wflo run -- CMD` runs a program on the
project within a budget, and keeps what it changed. At a terminal the command has one of its own: `-- bash` is a
shell with job control.

Exits with the command's own code; 124 when its time was up, 125 when the sandbox could not be made,
137 when a limit killed it, 128 plus the number of a signal to wflo that ended it.";

const PROFILE_HELP: &str = "\
Examples:
  wflo sandbox profile --format seccomp-json > wflo.json
  docker run --security-opt seccomp=wflo.json …
  wflo sandbox profile --format apparmor --preset strict | sudo apparmor_parser -r";

/// The verbs of sandboxes.
#[derive(Debug, Subcommand)]
pub(crate) enum SandboxCommand {
    /// Run one command in a sandbox: no network but hosts that you name, nothing of this machine but its programs
    #[command(after_help = EXEC_HELP)]
    Exec(Box<ExecArgs>),
    /// Start a sandbox and report what protects it here, with a fix for each missing piece
    Doctor,
    /// Install packages and programs for steps, once; list and remove what is installed
    #[command(subcommand)]
    Images(ImagesCommand),
    /// Print the policy of sandboxes for another engine, such as Docker, Kubernetes or AppArmor
    #[command(after_help = PROFILE_HELP)]
    Profile(ProfileArgs),
    /// Serve sandboxes to the stock SDKs of E2B, on this machine
    #[command(after_help = serve::HELP)]
    Serve(Box<ServeArgs>),
}

/// Which policy, and how it is written.
#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// How it is written
    #[arg(long, value_enum)]
    pub(crate) format: ProfileFormat,
    /// What a program may ask the kernel for: strict, default or build
    #[arg(long, value_name = "NAME", default_value_t)]
    pub(crate) preset: Preset,
}

/// What reads a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ProfileFormat {
    /// Docker, Podman and Kubernetes
    SeccompJson,
    /// apparmor_parser
    Apparmor,
}

/// A command and its limits.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Memory, such as 512m or 2g
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<Bytes>,
    /// Processors, such as 0.5
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<MilliCpus>,
    /// Processes and threads at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pids: Option<u32>,
    /// All that is written inside, /tmp and the workspace's copy together
    #[arg(long, value_name = "SIZE")]
    pub(crate) disk: Option<Bytes>,
    /// Files, folders and links there together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=4_194_304))]
    pub(crate) inodes: Option<u32>,
    /// Bytes read from each disk in a second, such as 10m
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    pub(crate) io_read: Option<Bytes>,
    /// Bytes written to each disk in a second
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    pub(crate) io_write: Option<Bytes>,
    /// Operations that read from each disk in a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) io_read_ops: Option<u32>,
    /// Operations that write to each disk in a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) io_write_ops: Option<u32>,
    /// What it may ask the kernel for: strict, default or build
    #[arg(long, value_name = "NAME", default_value_t)]
    pub(crate) preset: Preset,
    /// End it after this long, such as 10s or 5m
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<Millis>,
    /// Show this folder copy-on-write, at TARGET or at its own path; the command starts in it
    #[arg(long, value_name = "DIR[:TARGET]")]
    pub(crate) workspace: Option<WorkspaceArg>,
    /// Keep what the command changed in the workspace
    #[arg(long, requires = "workspace")]
    pub(crate) keep: bool,
    /// Show a file or folder read-only; may be repeated
    #[arg(long, value_name = "SRC:DST")]
    pub(crate) ro: Vec<Mount>,
    /// Give direct write access to a folder of this machine; may be repeated
    #[arg(long, value_name = "SRC:DST")]
    pub(crate) rw: Vec<Mount>,
    /// Set a variable, or pass one through by its name; may be repeated
    #[arg(long, value_name = "K=V")]
    pub(crate) env: Vec<String>,
    /// Let the command reach this host, such as api.example.org or *.example.org; may be repeated
    #[arg(long = "allow-host", value_name = "HOST")]
    pub(crate) allow_hosts: Vec<Rule>,
    /// Ask at this terminal before anything goes to this host, or such a request, although a rule allows it; may
    /// be repeated
    #[arg(long = "ask-host", value_name = "HOST")]
    pub(crate) ask_rules: Vec<Rule>,
    /// Ask at this terminal about hosts that nobody has named; the connection waits for the answer
    #[arg(long)]
    pub(crate) ask_hosts: bool,
    /// What isolates it: native, docker for a container of its own, or e2b for a sandbox of a cloud
    #[arg(long, value_name = "NAME", default_value = "native", value_parser = ["native", "docker", "e2b"])]
    pub(crate) sandbox: String,
    /// The template of the cloud's sandbox [default: base]
    #[arg(long, value_name = "NAME")]
    pub(crate) template: Option<String>,
    /// The image of the container; without one it has this machine's programs
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// The container's runtime by its name in the Docker daemon, such as runsc
    #[arg(long, value_name = "NAME")]
    pub(crate) runtime: Option<String>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// `DIR[:TARGET]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkspaceArg {
    pub(crate) folder: PathBuf,
    pub(crate) target: Option<PathBuf>,
}

impl FromStr for WorkspaceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (folder, target) = match text.split_once(':') {
            Some((folder, target)) if target.starts_with('/') => (folder, Some(target.into())),
            Some(_) => return Err("the target after `:` must be an absolute path".to_owned()),
            None => (text, None),
        };
        if folder.is_empty() {
            Err("the folder is missing".to_owned())
        } else {
            Ok(WorkspaceArg { folder: folder.into(), target })
        }
    }
}
