//! A `tool` step: one command in a sandbox; its files are kept as the step's layer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use wflo_core::error::{Code, Failure};
use wflo_sandbox::Outcome as Ended;

use super::{Steps, failed, retry, template};
use crate::broker::Broker;
use crate::egress::Outlet;
use crate::error::EngineError;
use crate::executor::{Attempt, End};
use crate::launch::Launch;
use crate::sandboxed::{Ask, pipe, tail};

const BAD_TEMPLATE: Code = Code(3009);
/// The command failed.
const COMMAND_FAILED: Code = Code(3016);
const STEP_TIMEOUT: Code = Code(3002);
const OUT_OF_MEMORY: Code = Code(3007);
const TOO_MANY_TASKS: Code = Code(3018);
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
        let io = |e: std::io::Error| EngineError::Unreadable(format!("a command's pipe: {e}"));
        let (stdout, stdout_in) = pipe().map_err(io)?;
        let (stderr, stderr_in) = pipe().map_err(io)?;
        let ask = Ask {
            name: Some(format!("{}-{}", attempt.run, attempt.step)),
            command: argv.iter().map(Into::into).collect(),
            env: self.command_env(&launch),
            fds: Vec::new(),
            stdout: stdout_in,
            stderr: stderr_in,
            layers: attempt.layers.clone(),
            timeout: None,
            egress: true,
        };
        let running = self.sandboxes.open(&launch, ask).await?;
        self.tell_of_walls(&journal, &running).await?;
        let outlet = Outlet::open(&launch, &running, &journal, &attempt.step)?;
        let caller = broker.calls.caller();
        let served = running.serve(self.services.gateway(), caller).map_err(io)?;
        let (out, err) = (tokio::spawn(tail(stdout, KEPT)), tokio::spawn(tail(stderr, KEPT)));
        let limit = spec.timeout_seconds.into_iter().chain(launch.sandbox.timeout).min();
        let limit = limit.map_or(Duration::from_secs(366 * 86_400), |l| l.duration());
        let exit = tokio::select! {
            exit = running.ended() => Some(exit),
            () = tokio::time::sleep(limit) => None,
            stop = attempt.stopped() => {
                broker.calls.ends();
                running.kill().await;
                if let Some(outlet) = outlet {
                    outlet.close().await;
                }
                if stop.is_urgent() {
                    broker.calls.hurry();
                }
                broker.calls.close().await;
                return Ok(End::Stopped);
            }
        };
        broker.calls.ends();
        running.kill().await;
        if let Some(outlet) = outlet {
            outlet.close().await;
        }
        if exit.is_none() {
            broker.calls.hurry();
        }
        broker.calls.close().await;
        if let Some(served) = served {
            served.stop(Duration::from_millis(0)).await;
        }
        let text = |read: Result<Vec<u8>, tokio::task::JoinError>| {
            String::from_utf8_lossy(&read.unwrap_or_default()).into_owned()
        };
        let (stdout, stderr) = (text(out.await), text(err.await));
        let failure = match exit {
            None => {
                Some((STEP_TIMEOUT, format!("the command ran for longer than {} s", limit.as_secs_f64())))
            }
            Some(Err(failure)) => return Ok(End::Lost { reason: failure.message }),
            Some(Ok(exit)) => match exit.outcome {
                Ended::Exited(0) => None,
                Ended::Exited(code) => {
                    Some((COMMAND_FAILED, format!("the command ended with exit code {code}")))
                }
                Ended::NotExecuted(_) => Some((
                    COMMAND_FAILED,
                    format!("`{}` was not found in the sandbox, or is no program", argv[0]),
                )),
                Ended::OutOfMemory => {
                    Some((OUT_OF_MEMORY, "the command used more memory than its sandbox may".to_owned()))
                }
                Ended::TooManyTasks => {
                    Some((TOO_MANY_TASKS, "the command started more processes than it may".to_owned()))
                }
                Ended::TimedOut => Some((STEP_TIMEOUT, "the command ran out of time".to_owned())),
                Ended::Signalled(signal) => {
                    Some((COMMAND_FAILED, format!("the command was ended by signal {signal}")))
                }
                Ended::Killed => return Ok(End::Lost { reason: "its sandbox was killed".to_owned() }),
            },
        };
        if let Some((code, message)) = failure {
            let last = stderr.lines().last().unwrap_or_default();
            let message = if last.is_empty() { message } else { format!("{message}: {last}") };
            let error = Failure::new(code, format!("step `{}`: {message}", spec.name));
            let (keep, no_retry) = retry::verdict(spec, &broker.journal.all(), &[], &error, None);
            return Ok(End::Failed { error, timed_out: code == STEP_TIMEOUT, no_retry, keep });
        }
        let output = json!({ "exit_code": 0, "stdout": stdout, "stderr": stderr });
        let ops = match broker.release_output(&output).await {
            Ok(Ok(ops)) => ops,
            Ok(Err(wait)) => return Ok(End::Suspended { on: vec![wait] }),
            Err(unanswered) => return self.unanswered(attempt, &broker, unanswered),
        };
        let (layer, _) = self.sandboxes.capture(&running).await?;
        Ok(End::Succeeded { output, state: None, cost: self.cost(attempt).await?, layer, ops })
    }

    fn command_env(&self, launch: &Launch) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
        let Some(interpreter) = &launch.interpreter else { return Vec::new() };
        let mut env = super::code::runner_env(interpreter, 0);
        env.retain(|(name, _)| name != "WFLO_RUNNER_FD" && name != "PYTHONHASHSEED");
        if let Some(folder) = interpreter.program.parent() {
            let mut path = folder.as_os_str().to_owned();
            path.push(":");
            path.push(wflo_sandbox::PATH);
            env.push(("PATH".into(), path));
        }
        env
    }
}
