//! `--detach`: a background process of its own session that submits the run and drives it.
//!
//! The parent starts this program again with the same arguments and `--background LOG`. The child
//! reports on its standard output, one JSON line, once the run is durable or refused; then both its
//! streams belong to the log.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use wflo_core::error::{Code, Failure};
use wflo_core::id::RunId;
use wflo_core::ports::clock::Clock as _;
use wflo_engine::clock::SystemClock;
use wflo_store::Folder;

use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;

/// Where logs of runs in the background are, in the data directory.
const LOGS: &str = "logs";

/// What the child says once.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    Accepted { run_id: RunId },
    Refused { failures: Vec<Failure>, exit: u8 },
}

fn failed(what: &str, error: &std::io::Error) -> CommandError {
    let failure = Failure::new(Code(8013), format!("{what}: {error}"))
        .with_hint("check the data directory's permissions and space, or run without --detach");
    CommandError { failures: vec![failure], exit: Exit::Failed }
}

/// Starts the child and waits until it has accepted the run, or refused it.
///
/// # Errors
/// What the child refused it for; that no child can be started.
pub(crate) fn start(context: &Context<'_>, data_dir: &Path, reads_stdin: bool) -> Result<Exit, CommandError> {
    wflo_store::make_data_dir(data_dir)?;
    // A name that nobody can have foreseen, and no file of somebody else's: the folder may have been brought along.
    let name = format!("starting-{}.log", SystemClock::default().uuid().simple());
    let logs =
        Folder::made_in(data_dir, LOGS).map_err(|e| failed("the folder for logs cannot be made", &e))?;
    let file =
        logs.create(&name).map_err(|e| failed("the log of the background process cannot be written", &e))?;
    let log = data_dir.join(LOGS).join(name);
    let program = std::env::current_exe().map_err(|e| failed("this program cannot find itself", &e))?;
    let mut child = Command::new(program)
        .args(in_background(std::env::args_os().skip(1).collect(), &log))
        .stdin(if reads_stdin { Stdio::inherit() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(file)
        .spawn()
        .map_err(|e| failed("the background process cannot be started", &e))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout)
            .read_line(&mut line)
            .map_err(|e| failed("the background process does not answer", &e))?;
    }
    match serde_json::from_str(&line) {
        Ok(Report::Accepted { run_id }) => {
            context.printer.object(&serde_json::json!({ "run_id": run_id }));
            context.printer.line(run_id);
            context.printer.note(format_args!(
                "It goes on in the background. Watch it with `wflo runs events {run_id} --follow`."
            ));
            Ok(Exit::Success)
        }
        Ok(Report::Refused { failures, exit }) => {
            let _ = child.wait();
            let _ = std::fs::remove_file(&log);
            let exit = if exit == Exit::Usage.code() { Exit::Usage } else { of(exit) };
            Err(CommandError { failures, exit })
        }
        Err(_) => {
            let ended = child.wait().map(|status| status.to_string()).unwrap_or_default();
            let message = format!("the background process ended before the run was accepted ({ended})");
            let hint = format!("its log is {}", log.display());
            let failure = Failure::new(Code(8013), message).with_hint(hint);
            Err(CommandError { failures: vec![failure], exit: Exit::Failed })
        }
    }
}

/// The same command line for the process that stays: what stands behind `--` is a program's.
fn in_background(mut words: Vec<OsString>, log: &Path) -> Vec<OsString> {
    let own = words.iter().position(|word| word == "--").unwrap_or(words.len());
    words.splice(own..own, ["--background".into(), log.into()]);
    words
}

fn of(code: u8) -> Exit {
    [Exit::Failed, Exit::Rejected, Exit::Halted, Exit::Cancelled, Exit::Waiting]
        .into_iter()
        .find(|exit| exit.code() == code)
        .unwrap_or(Exit::Internal)
}

/// The child's side.
#[derive(Debug)]
pub(crate) struct Child {
    log: PathBuf,
}

impl Child {
    /// Leaves the terminal's session: closing the terminal does not end the run.
    pub(crate) fn begin(log: &Path) -> Child {
        // It fails only for a leader of a group, and a child that was just started leads none.
        let _ = rustix::process::setsid();
        Child { log: log.to_path_buf() }
    }

    /// Tells the parent that the run is durable; from here on everything goes to the run's log.
    pub(crate) fn accepted(self, run: RunId) {
        let named = self.log.with_file_name(format!("{run}.log"));
        let _ = std::fs::rename(&self.log, named);
        tell(&Report::Accepted { run_id: run });
    }
}

/// Tells the parent why there is no run. After `accepted` nobody listens, and the log has it.
pub(crate) fn refused(error: &CommandError) {
    tell(&Report::Refused { failures: error.failures.clone(), exit: error.exit.code() });
}

fn tell(report: &Report) {
    let Ok(line) = serde_json::to_string(report) else { return };
    // The parent may be gone: the run goes on without it.
    let _ = writeln!(std::io::stdout().lock(), "{line}").and_then(|()| std::io::stdout().lock().flush());
    // What follows belongs to the log, and a pipe of the caller is not held open.
    let _ = rustix::stdio::dup2_stdout(rustix::stdio::stderr());
    if let Ok(null) = std::fs::File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_is_given_is_not_added_to() {
        let line = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let made = |text: &str| in_background(line(text), Path::new("log"));
        assert_eq!(made("run --detach -- cat --"), line("run --detach --background log -- cat --"));
        assert_eq!(made("runs resume x --detach"), line("runs resume x --detach --background log"));
    }
}
