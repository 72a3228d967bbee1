//! A `tool` step: one command in a sandbox; its files are kept as the step's layer.

use std::sync::Arc;

use serde_json::json;
use wflo_core::effect::OnAmbiguous;
use wflo_core::error::{Code, Failure};
use wflo_sandbox::workspace::Bounds;

use super::process::{self, Ended, TIMEOUT};
use super::{Steps, failed, retry, template};
use crate::broker::{Broker, Start, command_not_known, failure_of, skipped};
use crate::egress::WayOut;
use crate::error::EngineError;
use crate::executor::{Attempt, End};
use crate::launch::Launch;
use crate::live::Whose;
use crate::output::Complaint;
use crate::sandboxed::{Ask, Shape, pipe, tail};

const BAD_TEMPLATE: Code = Code(3009);
/// The command failed.
const COMMAND_FAILED: Code = Code(3016);
/// The most of a command's output that is kept, in bytes.
const KEPT: usize = 64 << 10;

impl Steps {
    pub(super) async fn command(&self, attempt: &Attempt, run: &[String]) -> Result<End, EngineError> {
        let Some(spec) = attempt.spec() else { return Ok(End::Stopped) };
        let launch = self.launch(&attempt.context)?;
        let inputs = &attempt.context.record.inputs;
        let filled: Result<Vec<String>, String> =
            run.iter().map(|text| template::fill(text, inputs, &attempt.outputs)).collect();
        let argv = match filled {
            Ok(argv) => argv,
            Err(detail) => {
                let message = format!("the command of step `{}`: {detail}", spec.name);
                return Ok(failed(Failure::new(BAD_TEMPLATE, message)));
            }
        };
        let journal = self.journal(attempt).await?;
        let broker = Arc::new(Broker::new(attempt.clone(), Arc::clone(&journal), Arc::clone(&self.services)));
        match broker.let_step_start(&argv).await {
            Ok(Start::Now) => {}
            Ok(Start::Again) => match spec.on_ambiguous.unwrap_or(OnAmbiguous::Fail) {
                OnAmbiguous::Rerun => {}
                OnAmbiguous::Skip => {
                    let (output, cost) = (skipped(), self.cost(attempt).await?);
                    return Ok(End::Succeeded { output, state: None, cost, layer: None, ops: Vec::new() });
                }
                OnAmbiguous::Fail => return Ok(failed(failure_of(&command_not_known()))),
            },
            Ok(Start::Waits(wait)) => return Ok(End::Suspended { on: vec![wait] }),
            Ok(Start::Refused(no)) => return Ok(failed(failure_of(&no))),
            Err(unanswered) => return self.unanswered(attempt, &broker, unanswered),
        }
        let io = |e: std::io::Error| EngineError::Unreadable(format!("a command's pipe: {e}"));
        let (stdout, stdout_in) = pipe().map_err(io)?;
        let (stderr, stderr_in) = pipe().map_err(io)?;
        let mut way_out = WayOut::prepare(&launch, attempt, &self.services).await?;
        let mut shape = Shape {
            env: self.command_env(&launch),
            layers: attempt.layers.clone(),
            ..Shape::new(argv.iter().map(Into::into).collect())
        };
        way_out.dress(&mut shape);
        let ask = Ask {
            name: Some(format!("{}-{}", attempt.run, attempt.step)),
            used: attempt.used.clone(),
            whose: Some(Whose::of(attempt)),
            ..Ask::new(shape, stdout_in, stderr_in)
        };
        let running = self.sandboxes.open(&launch, ask).await?;
        way_out.is_dressed();
        self.tell_of_walls(&journal, &running).await?;
        let (out, err) = (tokio::spawn(tail(stdout, KEPT)), tokio::spawn(tail(stderr, KEPT)));
        let failure = match self.attend(attempt, &launch, &broker, (&running, &way_out)).await? {
            Ended::Stopped(_) => return Ok(End::Stopped),
            Ended::Lost(reason) => return Ok(End::Lost { reason }),
            Ended::OutOfTime(limit) => {
                let message = format!("the command ran for longer than {} s", limit.as_secs_f64());
                Some(Failure::new(TIMEOUT, message))
            }
            Ended::Exit(exit) => {
                process::failure(&exit, "the command", &argv[0], (COMMAND_FAILED, COMMAND_FAILED))
            }
        };
        let text = |read: Result<Vec<u8>, tokio::task::JoinError>| {
            String::from_utf8_lossy(&read.unwrap_or_default()).into_owned()
        };
        let (stdout, stderr) = (text(out.await), text(err.await));
        if let Some(failure) = failure {
            let last = stderr.lines().last().filter(|last| !last.is_empty());
            let last = last.map(|last| format!(": {last}")).unwrap_or_default();
            let message = format!("step `{}`: {}{last}", spec.name, failure.message);
            let complaint = Complaint::of_text(&stderr).filter(|_| running.enforcement().1);
            let error = process::because(Failure { message, ..failure }, complaint);
            let (keep, no_retry) = retry::verdict(spec, &broker.journal.all(), &[], &error, None);
            let timed_out = error.code == TIMEOUT.to_string();
            return Ok(End::Failed { error, timed_out, no_retry, keep, left: None });
        }
        let output = json!({ "exit_code": 0, "stdout": stdout, "stderr": stderr });
        let ops = match broker.release_output(&output, Some(&argv)).await {
            Ok(Ok(ops)) => ops,
            Ok(Err(wait)) => return Ok(End::Suspended { on: vec![wait] }),
            Err(unanswered) => return self.unanswered(attempt, &broker, unanswered),
        };
        let (layer, left_out) = self.sandboxes.capture(&running, Bounds::default()).await?;
        broker.journal.note_left_out(&format!("step `{}`", spec.name), left_out).await?;
        Ok(End::Succeeded { output, state: None, cost: self.cost(attempt).await?, layer, ops })
    }

    fn command_env(&self, launch: &Launch) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
        let Some(interpreter) = &launch.interpreter else { return Vec::new() };
        let mut env = interpreter.env();
        env.push(("PATH".into(), interpreter.path()));
        env
    }
}
