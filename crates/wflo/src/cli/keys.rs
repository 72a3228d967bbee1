//! `wflo keys …`.

use clap::{Args, Subcommand, ValueEnum};
use wflo_core::budget::Zone;
use wflo_core::money::NanoUsd;

use super::input::Label;
use super::value::{count, model, seconds, usd};

const CREATE_HELP: &str = "\
The key is shown once; only its hash is kept. From the first key on, the gateway wants one.

Examples:
  wflo keys create --name ci
  wflo keys create --name ci --budget 5 --period day --models 'gpt-5-*,claude-sonnet-4-5'
  wflo keys create --name anna --label user=anna --budget 50 --period month --time-zone Europe/Berlin
  wflo keys create --name trial --expires 30d --rpm 60";

/// The verbs of keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key and show it once
    #[command(after_help = CREATE_HELP)]
    Create(CreateKeyArgs),
    /// List keys with what was spent with each, the newest last
    List,
    /// Take a key back: gateways that run refuse it at once
    Revoke {
        /// The key's id, its name, or how it begins
        key: String,
    },
    /// Give a key another secret: the old one is good for nothing from then on
    Rotate {
        /// The key's id, its name, or how it begins
        key: String,
    },
}

/// What a key may do.
#[derive(Debug, Args)]
pub(crate) struct CreateKeyArgs {
    /// What people call it
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) name: String,
    /// Let it spend at most this much
    #[arg(long, value_name = "USD", value_parser = usd)]
    pub(crate) budget: Option<NanoUsd>,
    /// …in each of these
    #[arg(long, value_name = "PERIOD", requires = "budget", default_value = "total")]
    pub(crate) period: KeyPeriod,
    /// …which begin in this time zone: an IANA name such as Europe/Berlin
    #[arg(long, value_name = "ZONE", requires = "budget", default_value = "UTC")]
    pub(crate) time_zone: Zone,
    /// Say whose it is, such as user=anna, for budgets per label; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<Label>,
    /// Let it call only these models; a `*` at the end stands for anything
    #[arg(long, value_name = "MODELS", value_delimiter = ',', value_parser = model)]
    pub(crate) models: Vec<String>,
    /// Let it expire after this time, such as 12h or 30d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) expires: Option<u64>,
    /// Let it make at most so many requests in a minute
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) rpm: Option<u32>,
}

/// Over which span a key's budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyPeriod {
    Total,
    Hour,
    Day,
    Week,
    Month,
}
