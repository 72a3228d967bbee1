//! `wflo keys …`.

use clap::{Args, Subcommand, ValueEnum};
use wflo_core::budget::Zone;
use wflo_core::money::NanoUsd;

use super::input::Label;
use super::value::{Expiry, count, expiry, model, usd};

const CREATE_HELP: &str = "\
The key is shown once; only its hash is kept. From the first key on, the gateway wants one.

Examples:
  wflo keys create --name ci
  wflo keys create --name ci --budget 5 --period day --models 'gpt-5-*,claude-sonnet-4-5'
  wflo keys create --name anna --label user=anna --budget 50 --period month --time-zone Europe/Berlin
  wflo keys create --name trial --expires 30d --rpm 60
  wflo keys create --name fair --expires 2027-01-31T18:00:00+01:00";

const UPDATE_HELP: &str = "\
What is not named stays as it is, the secret and the name among it. Gateways that run see it at once.

Examples:
  wflo keys update ci --budget 10
  wflo keys update ci --models 'gpt-5-*' --rpm 120
  wflo keys update trial --expires 2027-01-31
  wflo keys update anna --label team=search --no-label user --no-budget";

/// The verbs of keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key and show it once
    #[command(after_help = CREATE_HELP)]
    Create(CreateKeyArgs),
    /// List keys with what was spent with each, the newest last
    List,
    /// Change what a key may do: budget, models, labels, pace, end
    #[command(after_help = UPDATE_HELP)]
    Update {
        /// The key's id, its name, or how it begins
        key: String,
        #[command(flatten)]
        change: UpdateKeyArgs,
    },
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
    /// Let it expire after a time such as 12h or 30d, or at a day (its beginning in UTC) or a moment such as 2027-01-31T18:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = expiry)]
    pub(crate) expires: Option<Expiry>,
    /// Let it make at most so many requests in a minute
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) rpm: Option<u32>,
    /// Let it read all of `/metrics`, and call nothing
    #[arg(long, conflicts_with_all = ["budget", "labels", "models", "rpm"])]
    pub(crate) metrics: bool,
}

/// What becomes another of a key.
#[derive(Debug, Args)]
pub(crate) struct UpdateKeyArgs {
    /// Let it spend at most this much, with what it has spent
    #[arg(long, value_name = "USD", value_parser = usd, conflicts_with = "no_budget")]
    pub(crate) budget: Option<NanoUsd>,
    /// …in each of these; another period counts from its beginning
    #[arg(long, value_name = "PERIOD", conflicts_with = "no_budget")]
    pub(crate) period: Option<KeyPeriod>,
    /// …which begin in this time zone
    #[arg(long, value_name = "ZONE", conflicts_with = "no_budget")]
    pub(crate) time_zone: Option<Zone>,
    /// Take its own budget away
    #[arg(long)]
    pub(crate) no_budget: bool,
    /// Give it this label, or its label of that name this value; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<Label>,
    /// Take the label of this name away; may be repeated
    #[arg(long = "no-label", value_name = "NAME")]
    pub(crate) no_labels: Vec<String>,
    /// Let it call only these models; a `*` at the end stands for anything
    #[arg(long, value_name = "MODELS", value_delimiter = ',', value_parser = model, conflicts_with = "all_models")]
    pub(crate) models: Vec<String>,
    /// Let it call every model
    #[arg(long)]
    pub(crate) all_models: bool,
    /// Let it expire after a time from now, or at a day or a moment, as `wflo keys create` takes them
    #[arg(long, value_name = "WHEN", value_parser = expiry, conflicts_with = "no_expiry")]
    pub(crate) expires: Option<Expiry>,
    /// Let it expire no more
    #[arg(long)]
    pub(crate) no_expiry: bool,
    /// Let it make at most so many requests in a minute
    #[arg(long, value_name = "N", value_parser = count, conflicts_with = "no_rpm")]
    pub(crate) rpm: Option<u32>,
    /// Let it make as many requests as it likes
    #[arg(long)]
    pub(crate) no_rpm: bool,
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
