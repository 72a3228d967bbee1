//! `wflo explain …`.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Args, Command};

use crate::error_page::Page;

pub(super) const HELP: &str = "\
Examples:
  wflo explain WFLO-3301    What it means, why it comes, what to do
  wflo explain 3301         The same
  wflo explain              All codes";

/// Which codes.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The code that an error shows, such as WFLO-3301; without one, all are listed
    #[arg(value_name = "CODE", value_parser = Codes, hide_possible_values = true)]
    pub(crate) codes: Vec<String>,
}

/// Any text, so that what is no code can be answered with the near ones; a shell completes the codes.
#[derive(Debug, Clone, Copy)]
struct Codes;

impl TypedValueParser for Codes {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let value = |page: &Page| PossibleValue::new(page.name).help(page.title());
        Some(Box::new(Page::all().iter().map(value)))
    }
}
