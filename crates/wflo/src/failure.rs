//! The one error that reaches the edge: what to print and how to end.

use jiff::civil::Date;
use wflo_core::error::{Code, Coded, Failure};
use wflo_core::id::RunId;

use crate::exit::Exit;

/// The failure of a run with the run's own id in the commands of its hint.
pub(crate) fn of_run(failure: &Failure, run: RunId) -> Failure {
    const VERBS: [&str; 6] = ["runs retry", "runs events", "runs resume", "diff", "apply", "discard"];
    let hint = failure.hint.as_ref().map(|hint| {
        VERBS.iter().fold(hint.clone(), |hint, verb| {
            hint.replace(&format!("`wflo {verb} ID"), &format!("`wflo {verb} {run}"))
        })
    });
    Failure { hint, ..failure.clone() }
}

/// A command that did not do what was asked.
#[derive(Debug)]
pub(crate) struct CommandError {
    /// What went wrong; none when it has been said already.
    pub(crate) failures: Vec<Failure>,
    pub(crate) exit: Exit,
}

impl CommandError {
    /// Several mistakes in what the user wrote.
    pub(crate) fn usage(failures: Vec<Failure>) -> Self {
        CommandError { failures, exit: Exit::Usage }
    }

    /// The same error, with the run's own id in its hints.
    #[must_use]
    pub(crate) fn of_run(mut self, run: RunId) -> Self {
        for failure in &mut self.failures {
            *failure = of_run(failure, run);
        }
        self
    }

    /// The same error, ending with another code.
    #[must_use]
    pub(crate) fn exiting(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

impl<E: Coded> From<E> for CommandError {
    fn from(error: E) -> Self {
        CommandError { failures: vec![error.to_failure()], exit: exit_of(error.code()) }
    }
}

/// Definitions and settings are the user's to correct (2); 9xxx is ours (70); the rest failed (1).
fn exit_of(code: Code) -> Exit {
    match code.0 / 1000 {
        1 | 8 => Exit::Usage,
        9 => Exit::Internal,
        _ => Exit::Failed,
    }
}

/// Refusals and mistakes that belong to the command line itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("there is no error code `{given}`")]
    NoSuchCode { given: String, near: Vec<String> },
    #[error("{message}")]
    NoSuchBackend { message: String },
    #[error(
        "there is no workflow here: {looked_in} has no wflo.toml that names one, no workflow.py, workflow.mjs or flow.yaml"
    )]
    NoWorkflow { looked_in: String },
    #[error("{path} is no workflow file")]
    OtherFile { path: String },
    #[error("there is no workflow file {path}{}", if *in_settings { ", which wflo.toml names" } else { "" })]
    MissingWorkflow { path: String, near: Option<String>, in_settings: bool },
    #[error("{source_name}: {reason}")]
    Input { source_name: String, reason: String, hint: String },
    #[error("--since {since} is after --until {until}")]
    Days { since: Date, until: Date },
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
}

impl Coded for CliError {
    fn code(&self) -> Code {
        Code(match self {
            CliError::NoSuchCode { .. } | CliError::Days { .. } => 8001,
            CliError::NoSuchBackend { .. } => 8004,
            CliError::NoWorkflow { .. } | CliError::OtherFile { .. } | CliError::MissingWorkflow { .. } => {
                8007
            }
            CliError::Input { .. } => 8008,
            CliError::File { .. } => 8012,
        })
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            CliError::NoSuchCode { near, .. } if near.is_empty() => {
                "`wflo explain` lists all codes; any other name is the class of an exception, whose traceback \
                 says where it was raised"
                    .to_owned()
            }
            CliError::NoSuchCode { near, .. } => {
                format!("near it: {}; `wflo explain` lists all", near.join(", "))
            }
            CliError::NoSuchBackend { .. } => {
                "`wflo sandbox doctor` says whether the native sandbox works here".to_owned()
            }
            CliError::NoWorkflow { .. } => {
                "`wflo init my-agent` makes a project that runs as it is; or give a file, `wflo run FILE.py`, or a program, `wflo run -- PROGRAM`"
                    .to_owned()
            }
            CliError::MissingWorkflow { near, in_settings: true, .. } => {
                let place = "correct `workflow` under [project] in wflo.toml";
                match near {
                    Some(near) => format!("{place}: did you mean `{near}`?"),
                    None => format!("{place}, or give another file: `wflo run FILE.py`"),
                }
            }
            CliError::MissingWorkflow { near: Some(near), .. } => format!("did you mean `{near}`?"),
            CliError::MissingWorkflow { near: None, path, .. } if !path.contains(['/', '.', ':']) => {
                format!("give a .py, .mjs, .js or .yaml file; a program is run by `wflo run -- {path} ARGS`")
            }
            CliError::OtherFile { path } => format!(
                "give a .py, .mjs, .js or .yaml file, or package.module:attribute; a program is run by `wflo run -- {path}`"
            ),
            CliError::MissingWorkflow { near: None, .. } => {
                "give a .py, .mjs, .js or .yaml file, or package.module:attribute".to_owned()
            }
            CliError::Input { hint, .. } => hint.clone(),
            CliError::Days { .. } => "give the earlier day to --since".to_owned(),
            CliError::File { .. } => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_of_a_run_names_the_run() {
        let failure = Failure::new(Code(4001), "halted")
            .with_hint("raise it with `wflo runs retry ID --budget USD`; see `wflo runs events ID`");
        let run = RunId::from_uuid(uuid::Uuid::nil());
        let hint = of_run(&failure, run).hint.unwrap();
        assert_eq!(
            hint,
            format!("raise it with `wflo runs retry {run} --budget USD`; see `wflo runs events {run}`")
        );
    }
}
