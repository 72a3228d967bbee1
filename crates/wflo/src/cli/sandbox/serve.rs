//! `wflo sandbox serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use wflo_core::size::{Bytes, MilliCpus};
use wflo_egress::rules::Rule;
use wflo_sandbox::Preset;

use crate::cli::value::{address, span};
use crate::settings::Mount;

pub(super) const HELP: &str = "\
The SDKs `e2b` and `e2b-code-interpreter`, Python and JavaScript, work unchanged with sandboxes of this machine:
three variables, which are printed, say where. Each sandbox is a native one: no network but hosts that you name,
nothing of this machine but its programs. It ends in time, with the server at the latest.

Examples:
  wflo sandbox serve                                    Serve on 127.0.0.1:4001, with a key made for this time
  wflo sandbox serve --python .venv/bin/python          Code sees the packages of this environment
  wflo sandbox serve --allow-host pypi.org --allow-host files.pythonhosted.org
  E2B_API_KEY=$(cat key) wflo sandbox serve --api-key-env E2B_API_KEY
  wflo sandbox serve --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem --api-key-env E2B_API_KEY

SIGTERM ends every sandbox. What was done in them is in the data folder, in serve/audit.jsonl.";

/// Where, for whom, and what each sandbox gets.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Listen at this address, at port 4001 if it names none; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4001", value_parser = listen)]
    pub(crate) listen: SocketAddr,
    /// Take the API key from this variable; without, one is made and printed
    #[arg(long, value_name = "NAME")]
    pub(crate) api_key_env: Option<String>,
    /// Speak TLS with this certificate (PEM, with its chain)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// So many sandboxes at a time
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) max_sandboxes: u32,
    /// The memory of all sandboxes together, such as 16g; each counts with all that it may have
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_memory: Option<Bytes>,
    /// The longest time that a client may give a sandbox
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = span)]
    pub(crate) max_timeout: u64,
    /// Memory of each sandbox, everything written included
    #[arg(long, value_name = "SIZE", default_value = "2g")]
    pub(crate) memory: Bytes,
    /// Processors of each sandbox
    #[arg(long, value_name = "N", default_value = "2")]
    pub(crate) cpus: MilliCpus,
    /// Processes and threads in each sandbox
    #[arg(long, value_name = "N", default_value = "1024", value_parser = clap::value_parser!(u32).range(16..))]
    pub(crate) pids: u32,
    /// All that is written in each sandbox
    #[arg(long, value_name = "SIZE", default_value = "1g")]
    pub(crate) disk: Bytes,
    /// What programs may ask the kernel for: default or build
    #[arg(long, value_name = "NAME", default_value_t, value_parser = preset)]
    pub(crate) preset: Preset,
    /// Run code with this Python, and show it to every sandbox with its packages
    #[arg(long, value_name = "FILE")]
    pub(crate) python: Option<PathBuf>,
    /// Show a file or folder read-only in every sandbox; may be repeated
    #[arg(long, value_name = "SRC:DST")]
    pub(crate) ro: Vec<Mount>,
    /// Let sandboxes reach this host, such as api.example.org or *.example.org; may be repeated
    #[arg(long = "allow-host", value_name = "HOST")]
    pub(crate) allow_hosts: Vec<Rule>,
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    address(text, 4001)
}

/// In the narrowest preset nothing that was written is executed: clients write what they execute.
fn preset(text: &str) -> Result<Preset, String> {
    match text.parse()? {
        Preset::Strict => {
            Err("served sandboxes execute what is written in them: use default or build".to_owned())
        }
        other => Ok(other),
    }
}
