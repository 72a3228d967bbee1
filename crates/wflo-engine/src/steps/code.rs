//! A step of the user's code: its sandbox, its runner, its model listener.

use std::sync::Arc;
use std::time::Duration;

use wflo_core::effect::json_bytes;
use wflo_core::error::{Code, Failure};
use wflo_sandbox::workspace::Bounds;

use super::conversation::Conversation;
use super::{Steps, failed, outputs};
use crate::broker::Broker;
use crate::egress::{Outlet, WayOut};
use crate::error::EngineError;
use crate::executor::{Attempt, End};
use crate::launch::Launch;
use crate::live::Whose;
use crate::output::Output;
use crate::protocol::RunStep;
use crate::sandboxed::{Runner, Shape};
use crate::standby::{self, Wish};

/// The run has no interpreter although it runs code.
const NO_INTERPRETER: Code = Code(3040);

impl Steps {
    pub(super) async fn code(&self, attempt: &Attempt) -> Result<End, EngineError> {
        let launch = self.launch(&attempt.context)?;
        let (Some(interpreter), Some(workflow)) = (launch.interpreter.clone(), launch.workflow.clone())
        else {
            return Ok(failed(Failure::new(NO_INTERPRETER, "the run was submitted without an interpreter")));
        };
        let journal = self.journal(attempt).await?;
        let broker = Arc::new(Broker::new(attempt.clone(), Arc::clone(&journal), Arc::clone(&self.services)));
        if let Err(unanswered) = broker.chain.take_up().await {
            return self.unanswered(attempt, &broker, unanswered);
        }
        let hash_seed = hash_seed(attempt, launch.one_seed);
        let mut way_out = WayOut::prepare(&launch, attempt, &self.services).await?;
        let mut shape = Shape {
            env: interpreter.runner_env(hash_seed),
            layers: attempt.layers.clone(),
            ..Shape::new(self.sandboxes.runner_command(&launch, &interpreter)?)
        };
        way_out.dress(&mut shape);
        let wish = Wish { launch: launch.clone(), shape };
        let ahead = standby::may_be(&launch) && !way_out.is_its_own();
        let Runner { running, socket, stdout, stderr, greeted } = self.runner(attempt, &wish, ahead).await?;
        way_out.is_dressed();
        if let Some(files) = running.files(&self.sandboxes) {
            // Set once; a broker has one attempt and one sandbox.
            let _ = broker.files.live.set(files);
        }
        self.tell_of_walls(&journal, &running).await?;
        let io = |e: std::io::Error| EngineError::Unreadable(format!("a runner's streams: {e}"));
        let (output, keeper) =
            Output::new(Arc::clone(&journal), Arc::clone(&self.services), attempt.step.clone());
        let followed =
            [output.follow("stdout", stdout).map_err(io)?, output.follow("stderr", stderr).map_err(io)?];
        let outlet = Outlet::open(&launch, &running, &journal, attempt, &way_out)?;
        let caller = broker.calls.caller();
        let served = running.serve(self.services.gateway(), caller).map_err(io)?;
        let (inputs, state) = (attempt.context.record.inputs.clone(), (*attempt.variables).clone());
        let beside = json_bytes(&inputs) + json_bytes(&state);
        let named = attempt.spec().map(|step| step.depends_on.as_slice()).unwrap_or_default();
        let given = outputs::given(named, &attempt.outputs, beside);
        let order = RunStep {
            project: running.workspace(),
            workflow,
            run: attempt.run.to_string(),
            step: attempt.step.clone(),
            generation: attempt.generation,
            attempt: attempt.attempt,
            inputs,
            outputs: given.outputs,
            outputs_left_out: given.left_out,
            state,
            hash_seed,
            replay_length: journal.replay_length(),
            marks: journal.marks(),
        };
        let conversation = Conversation {
            steps: self,
            attempt,
            broker: Arc::clone(&broker),
            running: &running,
            clients: served.as_ref().map(wflo_gateway::serve::ServeHandle::connections),
            output: output.clone(),
            outlet: std::sync::Mutex::new(outlet),
            deadline: deadline(attempt, &launch),
            next: Some(wish).filter(|_| ahead && is_followed(attempt)),
        };
        let end = conversation.hold((socket, greeted), order).await;
        // It holds a sender of the output, which must be gone before the keeper can finish.
        drop(conversation);
        // Nothing of the attempt outlives it: calls are settled, the tree is dead, its output is kept.
        broker.calls.close().await;
        running.kill().await;
        if let Some(served) = served {
            served.stop(Duration::from_millis(0)).await;
        }
        for pipe in followed {
            let _ = pipe.await;
        }
        drop(output);
        let end = match end? {
            End::Succeeded { output, state, cost: _, layer: _, ops } => {
                let (layer, left_out) = self.sandboxes.capture(&running, Bounds::default()).await?;
                crate::failpoint::pass("layer.captured");
                journal.note_left_out(&format!("step `{}`", attempt.step), left_out).await?;
                End::Succeeded { output, state, cost: self.cost(attempt).await?, layer, ops }
            }
            other => other,
        };
        keeper.finish().await;
        Ok(end)
    }

    /// A runner for the attempt: the one that waits for it, or, as when none does, one that starts now.
    async fn runner(&self, attempt: &Attempt, wish: &Wish, ahead: bool) -> Result<Runner, EngineError> {
        let (whose, used) = (Whose::of(attempt), attempt.used.clone());
        if ahead && let Some(mut runner) = self.standbys.take(attempt.run, wish).await {
            runner.running.belongs_to(&self.sandboxes, whose, used);
            return Ok(runner);
        }
        if !ahead {
            // It would fit no step from here on.
            self.standbys.end(attempt.run).await;
        }
        let name = format!("{}-{}", attempt.run, attempt.step);
        let Wish { launch, shape } = wish;
        Runner::start(&self.sandboxes, launch, shape.clone(), name, Some((whose, used))).await
    }
}

/// The same in every attempt of a generation, so that what iterates a set repeats itself on resume; `of_run`, in all
/// steps, so that a sandbox that is made for the next one fits.
fn hash_seed(attempt: &Attempt, of_run: bool) -> u32 {
    let text = match of_run {
        true => attempt.run.to_string(),
        false => format!("{}/{}/{}", attempt.run, attempt.step, attempt.generation),
    };
    let digest = blake3::hash(text.as_bytes());
    u32::from_le_bytes([
        digest.as_bytes()[0],
        digest.as_bytes()[1],
        digest.as_bytes()[2],
        digest.as_bytes()[3],
    ])
}

/// Whether a standby for the step behind this one is worth its while. A step that was suspended may be so again, and
/// ended what it had made; one that failed may fail again.
fn is_followed(attempt: &Attempt) -> bool {
    attempt.attempt == 1 && standby::is_followed(&attempt.context.definition, &attempt.step, &attempt.outputs)
}

fn deadline(attempt: &Attempt, launch: &Launch) -> Option<Duration> {
    let step = attempt.spec().and_then(|s| s.timeout_seconds);
    let shortest = step.into_iter().chain(launch.sandbox.timeout).min();
    shortest.map(|limit| limit.duration())
}
