//! The command's streams: a terminal of its own, or pipes, made and served by what serves the programs of
//! `wflo run --`.
//!
//! A terminal is raw from the moment that the command runs to its end, and is given back before anything else
//! is said. A signal to wflo, a terminal that goes among them, ends the command, and the next one the wait for its end.
//!
//! **Architecture Invariant:** the command never holds what this process was given. Whoever holds a file can empty it and
//! set its mode, whatever it was opened for; a terminal, write what that obeys; a pipe, read what others wrote to it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::SignalKind;
use tokio::sync::oneshot;
use wflo_core::error::Failure;
use wflo_engine::console::{Console as _, Pipes, Relaying, Screen, Size, Stream, Streams};
use wflo_sandbox::{Exit, Outcome, Spec, Stdio};

use super::no_sandbox;
use super::questions::Questions;
use crate::commands::Context;
use crate::commands::drive::{Outer, Signals};
use crate::failure::CommandError;

/// How long what an ended command has said may take to be shown.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long a sandbox of this machine takes to end, at most, where it does not hang.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Our ends of the streams of a command that does not run yet.
pub(super) struct Ends {
    outer: Arc<Outer>,
    screen: Option<Screen>,
    pipes: Pipes,
}

/// How it ended.
pub(super) struct Ended {
    /// Nothing where its sandbox did not answer, and was left behind.
    pub(super) exit: Option<Exit>,
    /// The code of the signal to wflo that ended it.
    pub(super) signal: Option<u8>,
    /// Why not all of its output was taken.
    pub(super) lost: Option<String>,
    pub(super) watch: Watch,
}

/// Hears of signals for as long as this process has something to do.
pub(super) struct Watch {
    signals: Signals,
    runtime: Option<Runtime>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        // A thread that reads the person's input cannot be ended.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Watch {
    /// What comes of `work`, which blocks. A signal is answered at once: then the work is left to itself, and to
    /// the end of this process.
    ///
    /// # Errors
    /// The signal, as the code of the command.
    pub(super) fn unless_interrupted<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, u8> {
        let done = on_a_thread(work);
        let Watch { signals, runtime: Some(runtime) } = self else { return Err(128) };
        runtime.block_on(async {
            tokio::select! {
                biased;
                signal = signals.which() => Err(code(signal)),
                done = done => done.map_err(|_| 128),
            }
        })
    }
}

fn code(signal: SignalKind) -> u8 {
    u8::try_from(signal.as_raw_value()).unwrap_or(0).saturating_add(128)
}

/// Does something that blocks, and that nobody has to wait for.
fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || tell.send(work()));
    told
}

impl Ended {
    /// The code, as shells give it.
    pub(super) fn code(&self) -> u8 {
        // A command that was left behind was so after a signal.
        self.signal.or(self.exit.map(|exit| exit.code())).unwrap_or(128)
    }
}

impl Ends {
    /// Makes what the command needs in place of this process's own streams. `all`: standard error must be on a
    /// terminal with the rest, because the sandbox cannot have it elsewhere.
    ///
    /// # Errors
    /// When the kernel has no terminal or no descriptors left.
    pub(super) fn open(spec: &mut Spec, all: bool, context: &Context<'_>) -> Result<Ends, CommandError> {
        let outer = Outer::of_command(context);
        let shows_errors = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let unusable = |source| no_sandbox(wflo_sandbox::Error::Io { what: "given streams", source });
        let screen = match outer.size().filter(|_| shows_errors || !all) {
            Some(size) => Some(screen(spec, size, shows_errors, &outer).map_err(unusable)?),
            None => None,
        };
        let mut pipes = Pipes::default();
        let of_screen = |stream| screen.is_some() && (stream != Some(Stream::Error) || shows_errors);
        let together = is_one_file(&spec.stdout, &spec.stderr);
        for (stream, theirs) in [
            (None, &mut spec.stdin),
            (Some(Stream::Output), &mut spec.stdout),
            (Some(Stream::Error), &mut spec.stderr),
        ] {
            if of_screen(stream) || !matches!(theirs, Stdio::Fd(_)) {
                continue;
            }
            let pipe = match stream {
                None => pipes.input(),
                Some(stream) => pipes.output(stream),
            };
            *theirs = Stdio::Fd(pipe.map_err(unusable)?);
            if together && stream == Some(Stream::Output) {
                break;
            }
        }
        if let (true, Stdio::Fd(one)) = (together, &spec.stdout) {
            spec.stderr = Stdio::Fd(one.try_clone().map_err(unusable)?);
        }
        Ok(Ends { outer: Arc::new(outer), screen, pipes })
    }

    /// The person's streams, for whoever asks them something.
    pub(super) const fn outer(&self) -> &Arc<Outer> {
        &self.outer
    }

    /// Gives them to the command, which runs.
    fn attach(self) -> Result<Attached, CommandError> {
        let unusable = |error: io::Error| unusable_streams(&error.to_string());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(unusable)?;
        let within = runtime.enter();
        let signals = Signals::new(true)?;
        let streams = self.outer.attach().map_err(unusable)?;
        let mut relaying = Relaying::new(Some(Arc::clone(&streams)));
        if let Some(screen) = self.screen {
            screen.connect(&streams, &mut relaying).map_err(unusable)?;
        }
        self.pipes.connect(&streams, &mut relaying).map_err(unusable)?;
        drop(within);
        Ok(Attached { relaying, signals, streams, runtime })
    }
}

fn unusable_streams(why: &str) -> CommandError {
    let message = format!("the command's streams cannot be served: {why}");
    CommandError::from_failure(Failure::new(super::STREAMS, message))
}

/// A terminal of the command's own.
fn screen(spec: &mut Spec, size: Size, shows_errors: bool, outer: &Outer) -> io::Result<Screen> {
    let (screen, theirs) = Screen::open(size)?;
    spec.stdin = Stdio::Fd(theirs.try_clone()?);
    if shows_errors {
        spec.stderr = Stdio::Fd(theirs.try_clone()?);
    }
    spec.stdout = Stdio::Fd(theirs);
    // Programs that make terminals of their own find them where they look.
    (spec.terminal, spec.pts) = (true, true);
    let given: Vec<_> = spec.env.iter().map(|(name, _)| name.clone()).collect();
    let own = outer.variables().iter().filter(|(name, _)| !given.contains(name));
    spec.env.extend(own.cloned());
    Ok(screen)
}

/// Whether what is said to both comes into one place, in the order in which it is said.
fn is_one_file(output: &Stdio, error: &Stdio) -> bool {
    let (Stdio::Fd(output), Stdio::Fd(error)) = (output, error) else { return false };
    match (rustix::fs::fstat(output), rustix::fs::fstat(error)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

/// The streams of a command that runs.
struct Attached {
    relaying: Relaying,
    signals: Signals,
    streams: Arc<dyn Streams>,
    runtime: Runtime,
}

impl Attached {
    /// Until the command has ended and all that it said is shown, or until a signal has ended it. `kill` says
    /// whether it did; the next signal does not wait for it.
    fn stay(
        self,
        mut questions: Option<Questions<'_>>,
        context: &Context<'_>,
        wait: impl FnOnce() -> Result<Exit, wflo_sandbox::Error> + Send + 'static,
        kill: impl FnOnce() -> bool + Send + 'static,
    ) -> Result<Ended, CommandError> {
        let Attached { relaying, mut signals, streams, runtime } = self;
        let mut told = on_a_thread(wait);
        let (mut exit, mut ending) = (None, None);
        let (signal, lost) = runtime.block_on(async {
            // What a slow reader has not taken is waited for, as it would be without wflo. Behind one that was
            // ended, by its time or another limit, there may be more than anybody takes.
            let whole = async {
                let ended = exit.insert((&mut told).await);
                match ended {
                    Ok(Ok(exit)) if matches!(exit.outcome, Outcome::Exited(_)) => relaying.drained().await,
                    _ => drop(tokio::time::timeout(LAST_WORDS, relaying.drained()).await),
                }
            };
            let asking = async {
                match &mut questions {
                    Some(questions) => questions.serve().await,
                    None => std::future::pending().await,
                }
            };
            let signal = tokio::select! {
                () = whole => None,
                signal = signals.which() => Some(code(signal)),
                () = asking => None,
            };
            questions.iter_mut().for_each(Questions::leave);
            if signal.is_some() {
                if exit.is_none() {
                    let killed = on_a_thread(kill);
                    let mut ended = Box::pin(async move {
                        match killed.await {
                            Ok(true) => Some(told.await),
                            _ => None,
                        }
                    });
                    match tokio::time::timeout(AT_ONCE, &mut ended).await {
                        Ok(ended) => exit = ended,
                        Err(_) => ending = Some(ended),
                    }
                }
                let _ = tokio::time::timeout(LAST_WORDS, relaying.drained()).await;
            }
            let lost = relaying.failure();
            relaying.end().await;
            (signal, lost)
        });
        // The person's terminal is as it was before anything is said of the end.
        drop(streams);
        if let Some(ended) = ending {
            context.printer.note("Ending the sandbox. Again to leave it behind.");
            exit = runtime.block_on(async {
                tokio::select! {
                    ended = ended => ended,
                    _ = signals.which() => None,
                }
            });
        }
        let watch = Watch { signals, runtime: Some(runtime) };
        let exit = match exit {
            Some(Ok(exit)) => Some(exit.map_err(no_sandbox)?),
            Some(Err(_)) => return Err(unusable_streams("nobody has waited for its end")),
            None => None,
        };
        Ok(Ended { exit, signal, lost, watch })
    }
}

/// Until the command has ended; what it is asked about is put to its user meanwhile. `wait` returns once its
/// output has left the sandbox.
pub(super) fn attend(
    ends: Ends,
    questions: Option<Questions<'_>>,
    context: &Context<'_>,
    wait: impl FnOnce() -> Result<Exit, wflo_sandbox::Error> + Send + 'static,
    kill: impl FnOnce() -> bool + Send + 'static,
) -> Result<Ended, CommandError> {
    ends.attach()?.stay(questions, context, wait, kill)
}
