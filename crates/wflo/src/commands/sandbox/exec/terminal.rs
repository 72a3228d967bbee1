//! The command at a terminal: it has one of its own, made and served by what serves the programs of `wflo run --`.
//!
//! The terminal is raw from the moment that the command runs to its end, and is given back before anything else
//! is said. A signal to wflo, a terminal that goes among them, ends the command.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use wflo_core::error::{Code, Failure};
use wflo_engine::console::{Console as _, Relaying, Screen, Streams};
use wflo_sandbox::{Exit, Spec, Stdio};

use super::no_sandbox;
use crate::commands::Context;
use crate::commands::drive::{Outer, Signals};
use crate::failure::CommandError;

/// How long what an ended command has said may take to be shown.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The terminal of a command that does not run yet.
pub(super) struct Terminal {
    outer: Arc<Outer>,
    screen: Screen,
}

/// How it ended.
pub(super) struct Ended {
    pub(super) exit: Exit,
    /// The signal to wflo that ended it.
    pub(super) signal: Option<u8>,
}

impl Ended {
    /// By itself, or by a limit.
    pub(super) fn alone(exit: Exit) -> Ended {
        Ended { exit, signal: None }
    }

    /// The code, as shells give it.
    pub(super) fn code(&self) -> u8 {
        self.signal.map_or(self.exit.code(), |number| 128 + number)
    }
}

impl Terminal {
    /// Makes one for the command, where this process has one; `None` where it has this process's streams.
    /// `all`: standard error must be on it as well, because the sandbox cannot have it elsewhere.
    ///
    /// # Errors
    /// When there is none left.
    pub(super) fn open(
        spec: &mut Spec,
        all: bool,
        context: &Context<'_>,
    ) -> Result<Option<Terminal>, CommandError> {
        let outer = Outer::new(context);
        let shows_errors = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let Some(size) = outer.size().filter(|_| shows_errors || !all) else { return Ok(None) };
        let unusable = |source| no_sandbox(wflo_sandbox::Error::Io { what: "given a terminal", source });
        let (screen, theirs) = Screen::open(size).map_err(unusable)?;
        spec.stdin = Stdio::Fd(theirs.try_clone().map_err(unusable)?);
        if shows_errors {
            spec.stderr = Stdio::Fd(theirs.try_clone().map_err(unusable)?);
        }
        spec.stdout = Stdio::Fd(theirs);
        // Programs that make terminals of their own find them where they look.
        (spec.terminal, spec.pts) = (true, true);
        let given: Vec<_> = spec.env.iter().map(|(name, _)| name.clone()).collect();
        let own = outer.variables().iter().filter(|(name, _)| !given.contains(name));
        spec.env.extend(own.cloned());
        Ok(Some(Terminal { outer: Arc::new(outer), screen }))
    }

    /// Gives it to the command, which runs.
    fn attach(self) -> Result<Attached, CommandError> {
        let unusable = |error: std::io::Error| {
            CommandError::from_failure(Failure::new(
                Code(9005),
                format!("a terminal cannot be served: {error}"),
            ))
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(unusable)?;
        let within = runtime.enter();
        let signals = Signals::new(true)?;
        let streams = self.outer.attach().map_err(unusable)?;
        let relaying = self.screen.connect(&streams).map_err(unusable)?;
        drop(within);
        Ok(Attached { relaying, signals, streams, runtime })
    }
}

/// The terminal of a command that runs.
struct Attached {
    relaying: Relaying,
    signals: Signals,
    streams: Arc<dyn Streams>,
    runtime: Runtime,
}

impl Attached {
    /// Until the command has ended and all that it said is shown, or until a signal has ended it.
    fn stay(
        self,
        wait: impl FnOnce() -> Result<Exit, wflo_sandbox::Error> + Send,
        kill: impl FnOnce(),
    ) -> Result<Ended, CommandError> {
        let Attached { relaying, mut signals, streams, runtime } = self;
        let (ended, signal) = std::thread::scope(|scope| {
            let (over, mut told) = oneshot::channel();
            let waiting = scope.spawn(move || {
                let exit = wait();
                let _ = over.send(());
                exit
            });
            let signal = runtime.block_on(async {
                // What a slow reader has not taken is waited for, as it would be without wflo.
                let whole = async {
                    let _ = (&mut told).await;
                    relaying.drained().await;
                };
                let signal = tokio::select! {
                    () = whole => None,
                    signal = signals.which() => Some(signal),
                };
                if signal.is_some() {
                    kill();
                    let _ = tokio::time::timeout(LAST_WORDS, relaying.drained()).await;
                }
                relaying.end().await;
                signal
            });
            (waiting.join(), signal)
        });
        // The person's terminal is as it was before anything is said of the end.
        drop(streams);
        runtime.shutdown_background();
        let exit = match ended {
            Ok(exit) => exit.map_err(no_sandbox)?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let signal = signal.and_then(|signal| u8::try_from(signal.as_raw_value()).ok());
        Ok(Ended { exit, signal })
    }
}

/// Until the command has ended: at a terminal or without one. `wait` returns once its output has left the sandbox.
pub(super) fn attend(
    terminal: Option<Terminal>,
    wait: impl FnOnce() -> Result<Exit, wflo_sandbox::Error> + Send,
    kill: impl FnOnce(),
) -> Result<Ended, CommandError> {
    match terminal {
        Some(terminal) => terminal.attach()?.stay(wait, kill),
        None => wait().map(Ended::alone).map_err(no_sandbox),
    }
}
