//! A program that knows nothing of wflo, run as it is: `wflo run -- CMD`.
//!
//! Its files are kept however it ends, its streams go through the console of whoever drives the run, and a
//! bounded copy of what it says is in the run's events. The order of things and what a crash between two of
//! them leaves is in `docs/adr/0028-programs-as-they-are.md`.

mod relay;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use wflo_core::error::{Code, Failure};
use wflo_sandbox::workspace::Bounds;

use self::relay::Relay;
use super::process::{self, Ended, TIMEOUT};
use super::{Steps, failed};
use crate::broker::{Broker, Start, failure_of};
use crate::egress::WayOut;
use crate::error::EngineError;
use crate::executor::{Attempt, End, Left, Stop};
use crate::journal::Journal;
use crate::live::Whose;
use crate::output::{Complaint, Output};
use crate::program::Program;
use crate::sandboxed::Running;

/// The program failed.
const PROGRAM_FAILED: Code = Code(3100);
/// It could not be executed.
const NOT_EXECUTED: Code = Code(3105);
/// Its run ended before it.
pub(crate) const ENDED_WITH_ITS_RUN: Code = Code(3101);
/// The variable by which Python writes at once.
const UNBUFFERED: &str = "PYTHONUNBUFFERED";
/// The run has no program although it is one.
const NO_PROGRAM: Code = Code(3102);
/// How long what a stopped program has said may take to be passed on.
const LAST_WORDS: Duration = Duration::from_millis(500);

impl Steps {
    pub(super) async fn program(&self, attempt: &Attempt, argv: &[String]) -> Result<End, EngineError> {
        let launch = self.launch(&attempt.context)?;
        let Some(program) = launch.program.clone() else {
            return Ok(failed(Failure::new(
                NO_PROGRAM,
                "the run was recorded without what its program needs",
            )));
        };
        let journal = self.journal(attempt).await?;
        let broker = Arc::new(Broker::new(attempt.clone(), Arc::clone(&journal), Arc::clone(&self.services)));
        match broker.let_step_start(argv).await {
            Ok(Start::Now | Start::Again) => {}
            Ok(Start::Waits(wait)) => return Ok(End::Suspended { on: vec![wait] }),
            Ok(Start::Refused(no)) => return Ok(failed(failure_of(&no))),
            Err(unanswered) => return self.unanswered(attempt, &broker, unanswered),
        }
        let (output, keeper) =
            Output::new(Arc::clone(&journal), Arc::clone(&self.services), attempt.step.clone());
        let io = |e: std::io::Error| EngineError::Unreadable(format!("a program's streams: {e}"));
        let streams = self.console.clone().map(|console| console.attach()).transpose().map_err(io)?;
        let (relay, mut ask) = Relay::prepare(streams, output).map_err(io)?;
        ask.name = Some(format!("{}-{}", attempt.run, attempt.step));
        ask.shape.command = program.command(argv, &launch);
        ask.shape.env.extend(program.environment());
        // A pipe is written in blocks: what is in one when a program is ended would be lost.
        if !ask.shape.terminal && !launch.env.iter().any(|name| name == UNBUFFERED) {
            ask.shape.env.push((UNBUFFERED.into(), "1".into()));
        }
        ask.shape.cwd = Some(program.folder.clone());
        let mut way_out = WayOut::prepare(&launch, attempt, &self.services).await?;
        way_out.dress(&mut ask.shape);
        ask.used = attempt.used.clone();
        ask.whose = Some(Whose::of(attempt));
        ask.shape.layers.clone_from(&attempt.layers);
        let running = self.sandboxes.open(&launch, ask).await?;
        way_out.is_dressed();
        self.tell_of_walls(&journal, &running).await?;
        let relay = relay.start().map_err(io)?;
        let ended = self.attend(attempt, &launch, &broker, (&running, &way_out)).await?;
        match ended {
            // What a slow reader has not taken is waited for, as it would without wflo.
            Ended::Exit(_) => tokio::select! {
                () = relay.drained() => {}
                _ = attempt.stopped() => {}
            },
            _ => drop(tokio::time::timeout(LAST_WORDS, relay.drained()).await),
        }
        relay.end().await;
        let complaint = keeper.finish().await;
        crate::failpoint::pass("program.ended");
        self.ending(attempt, &program, (&journal, &running), (ended, complaint)).await
    }

    async fn ending(
        &self,
        attempt: &Attempt,
        program: &Program,
        (journal, running): (&Journal, &Running),
        (ended, complaint): (Ended, Option<Complaint>),
    ) -> Result<End, EngineError> {
        let name = &program.name;
        let (failure, exit_code) = match ended {
            Ended::Lost(reason) => return Ok(End::Lost { reason }),
            // The run is over, and its files are looked at; else it goes on, and the program starts anew.
            Ended::Stopped(Stop::Ending | Stop::Cancelled | Stop::OutOfTime) => {
                (Some(Failure::new(ENDED_WITH_ITS_RUN, format!("`{name}` was ended with its run"))), None)
            }
            Ended::Stopped(_) => return Ok(End::Stopped),
            Ended::OutOfTime(limit) => {
                let message = format!("`{name}` ran for longer than {} s", limit.as_secs_f64());
                (Some(Failure::new(TIMEOUT, message)), Some(124))
            }
            Ended::Exit(exit) => {
                let codes = (PROGRAM_FAILED, NOT_EXECUTED);
                let failure = process::failure(&exit, &format!("`{name}`"), name, codes);
                let because = complaint.filter(|_| running.enforcement().1);
                (failure.map(|failure| process::because(failure, because)), Some(exit.code()))
            }
        };
        // Nothing of its run comes after it, and whatever can be kept of its work is.
        let bounds = Bounds { leaves_out: true, ..Bounds::default() };
        let (layer, left_out) = self.sandboxes.capture(running, bounds).await?;
        crate::failpoint::pass("layer.captured");
        journal.note_left_out(&format!("`{name}`"), left_out).await?;
        let Some(error) = failure else {
            let (output, cost) = (json!({ "exit_code": 0 }), self.cost(attempt).await?);
            return Ok(End::Succeeded { output, state: None, cost, layer, ops: Vec::new() });
        };
        Ok(End::Failed {
            no_retry: Some(error.clone()),
            timed_out: error.code == TIMEOUT.to_string(),
            error,
            keep: Vec::new(),
            left: Some(Left { exit_code, layer }),
        })
    }
}
