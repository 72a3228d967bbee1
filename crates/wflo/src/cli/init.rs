//! `wflo init`.

use std::path::PathBuf;

use clap::Args;

const AFTER_HELP: &str = "\
Examples:
  wflo init my-agent
  wflo init .                         In this folder, next to what is there
  wflo init my-agent --no-model       Without a model step

The model is the one your environment names (OPENAI_API_KEY, ANTHROPIC_API_KEY), else a model server
that answers on this machine (llama.cpp on 8080, Ollama on 11434, LM Studio on 1234; other ports with
WFLO_MODEL_PORTS=9000,9001). With neither, the project has no model step and its README says how to
add one.";

/// Where to put the project.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct InitArgs {
    /// The new project's folder
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// The project's name [default: the folder's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Look for no model; make a project without a model step
    #[arg(long)]
    pub(crate) no_model: bool,
}
