//! `wflo run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use wflo_core::money::NanoUsd;
use wflo_egress::rules::Rule;

use super::value::{ports, usd};
use super::{Detach, Input, InputFile, Label};
use crate::settings::Ports;

const AFTER_HELP: &str = "\
Examples:
  wflo run                                          The workflow that wflo.toml names
  wflo run workflow.py --input age=365              With an input (JSON when it is JSON, else text)
  wflo run flow.yaml --input-file inputs.json       With inputs from a file; - reads standard input
  wflo run --budget 10.00 --require-approval        Spend at most 10 USD, ask before writes
  wflo run workflow.py --detach                     Go on in the background and print the run's id
  wflo run --allow-host api.example.org             Let steps reach a host, and no other
  wflo run --ask-hosts                              Ask about each host that steps want to reach
  wflo run --no-wait                                From cron: ends with 75 when people are asked
  wflo run --json | jq .type                        One event a line
  wflo run --record calls.jsonl                     Keep the answers of all model calls in a file
  wflo run --replay calls.jsonl                     Answer them from it: no provider, no cost
  wflo run --budget 2 -- python agent.py            A program that knows nothing of wflo
  wflo run -- claude                                Interactive ones have a terminal

Exit codes:
  0 completed   1 failed   2 wrong use or definition   3 rejected
  4 halted by a budget   5 cancelled or timed out   70 internal error
  75 left waiting
Of a program: its own code (128 and the signal's number, 124 for a time limit), unless wflo ended it: 3, 4, 5.";

/// What to run and under which limits.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct RunArgs {
    /// workflow.py[:attribute], workflow.mjs[:export], flow.yaml or package.module:attribute [default: what wflo.toml names]
    pub(crate) workflow: Option<String>,
    /// Give the workflow an input; may be repeated
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    pub(crate) inputs: Vec<Input>,
    /// Read inputs from a JSON file, - for standard input; later files win, --input wins over all
    #[arg(long = "input-file", value_name = "FILE")]
    pub(crate) input_files: Vec<InputFile>,
    /// Let the run spend at most this many USD; never raises a lower limit set elsewhere
    #[arg(long, value_name = "USD", value_parser = usd)]
    pub(crate) budget: Option<NanoUsd>,
    /// Say whose run it is, such as user=anna, for budgets per label; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<Label>,
    /// Ask a person before database writes, guarded commands, and what --apply brings in
    #[arg(long)]
    pub(crate) require_approval: bool,
    #[command(flatten)]
    pub(crate) detach: Detach,
    /// Bring the run's file changes into the project when it completes, in whichever process that is
    #[arg(long)]
    pub(crate) apply: bool,
    /// What isolates steps: native, docker, e2b (a cloud), or none [default: what wflo.toml or the workflow says, else native]
    #[arg(long, value_name = "BACKEND")]
    pub(crate) sandbox: Option<String>,
    /// Let steps reach this host, such as api.example.org or *.example.org; may be repeated
    #[arg(long = "allow-host", value_name = "HOST")]
    pub(crate) allow_hosts: Vec<Rule>,
    /// Ask before anything goes to this host, or such a request, although a rule allows it; may be repeated
    #[arg(long = "ask-host", value_name = "HOST")]
    pub(crate) ask_rules: Vec<Rule>,
    /// Ask about hosts that nobody has named; the program's connection waits for the answer
    #[arg(long)]
    pub(crate) ask_hosts: bool,
    /// Start only if the packages that wflo.toml names for steps are installed already
    #[arg(long)]
    pub(crate) no_build: bool,
    /// Send notifications to this channel, such as slack://team; may be repeated
    #[arg(long, value_name = "CHANNEL")]
    pub(crate) notify: Vec<String>,
    /// Refuse to start when a notification channel is not configured
    #[arg(long)]
    pub(crate) strict_channels: bool,
    /// Serve metrics for Prometheus at this address while the command runs; a range of ports takes the first free one
    #[arg(long, value_name = "ADDR[-PORT]", value_parser = ports)]
    pub(crate) metrics: Option<Ports>,
    /// Export the run's trace to OTEL_EXPORTER_OTLP_ENDPOINT; without one, `wflo runs trace` has it
    #[arg(long)]
    pub(crate) trace: bool,
    /// Write the answers of the run's model calls to this file when the command ends
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub(crate) record: Option<PathBuf>,
    /// Answer the run's model calls from a file that --record wrote, and make none
    #[arg(long, value_name = "FILE")]
    pub(crate) replay: Option<PathBuf>,
    /// Only record the run; `wflo runs resume` starts it
    #[arg(long, conflicts_with_all = ["detach", "no_wait", "record"])]
    pub(crate) no_drive: bool,
    /// Started by the SDK: standard input holds the caller's definition and the inputs, as one object
    #[arg(long, hide = true, conflicts_with_all = ["inputs", "input_files"])]
    pub(crate) from_sdk: bool,
    /// Run this program as it is, instead of a workflow: behind --, with its arguments
    #[arg(last = true, value_name = "CMD")]
    #[arg(conflicts_with_all = ["workflow", "inputs", "input_files", "from_sdk"])]
    pub(crate) command: Vec<OsString>,
}
