//! The programs that run, by their numbers and tags.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::process::{self, Channel, Input, Process, unstartable};
use super::terminal::{self, Size};
use super::{Request, place};
use crate::fault::{Fault, Kind};

/// `process.ProcessConfig`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    cmd: String,
    args: Vec<String>,
    envs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cwd: Option<String>,
}

/// Of `Start`.
#[derive(Debug, Deserialize)]
pub(super) struct Start {
    #[serde(default)]
    process: Config,
    pty: Option<Pty>,
    tag: Option<String>,
    /// Absent in messages of clients that cannot say it, whose programs always have one.
    stdin: Option<bool>,
}

/// `process.PTY`.
#[derive(Debug, Default, Deserialize)]
struct Pty {
    #[serde(default)]
    size: Size,
}

/// `process.ProcessSelector`.
#[derive(Debug, Default, Deserialize)]
struct Selector {
    pid: Option<u32>,
    tag: Option<String>,
}

/// Of `Connect` and `CloseStdin`.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    process: Selector,
}

/// Of `SendSignal`.
#[derive(Debug, Deserialize)]
pub(super) struct Send {
    #[serde(default)]
    process: Selector,
    #[serde(default)]
    signal: Named,
}

/// `process.Signal`.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
enum Named {
    #[default]
    #[serde(rename = "SIGNAL_UNSPECIFIED")]
    Unspecified,
    #[serde(rename = "SIGNAL_SIGTERM")]
    Term,
    #[serde(rename = "SIGNAL_SIGKILL")]
    Kill,
}

/// Of `SendInput`.
#[derive(Debug, Deserialize)]
pub(super) struct Feed {
    #[serde(default)]
    process: Selector,
    #[serde(default)]
    input: Bytes,
}

/// `process.ProcessInput`: bytes in Base64.
#[derive(Debug, Default, Deserialize)]
struct Bytes {
    stdin: Option<String>,
    pty: Option<String>,
}

/// Of `StreamInput`.
#[derive(Debug, Deserialize)]
struct Streamed {
    start: Option<Which>,
    data: Option<Fed>,
}

#[derive(Debug, Deserialize)]
struct Fed {
    #[serde(default)]
    input: Bytes,
}

/// Of `Update`.
#[derive(Debug, Deserialize)]
pub(super) struct Update {
    #[serde(default)]
    process: Selector,
    pty: Option<Pty>,
}

/// Answer to `List`.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    processes: Vec<One>,
}

#[derive(Debug, Serialize)]
struct One {
    config: Config,
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

/// All that run.
#[derive(Debug, Default)]
pub(super) struct Processes {
    live: Mutex<BTreeMap<u32, Arc<Process>>>,
}

impl Processes {
    fn live(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Process>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, which: &Selector) -> Result<Arc<Process>, Fault> {
        let live = self.live();
        let found = match which {
            Selector { pid: Some(pid), .. } => live.get(pid),
            Selector { tag: Some(tag), .. } => {
                live.values().find(|process| process.tag.as_deref() == Some(tag))
            }
            Selector { pid: None, tag: None } => return Err(Fault::invalid("no process is named")),
        };
        found.cloned().ok_or_else(|| {
            let named =
                which.pid.map_or_else(|| which.tag.clone().unwrap_or_default(), |pid| pid.to_string());
            Fault::new(Kind::NotFound, format!("there is no process {named}"))
        })
    }

    /// Starts a program and passes on what it writes, also when nobody listens any more.
    pub(super) fn start(
        &self,
        request: &mut Request,
        asked: Start,
        timeout_ms: Option<u64>,
    ) -> Result<(), Fault> {
        let Started { child, input, outputs } = started(&asked)?;
        let process = Arc::new(Process::new(child.id(), asked.tag, asked.process, input));
        self.live().insert(process.pid, Arc::clone(&process));
        // Whoever asked may be gone already; the program runs all the same.
        let _ = process.attach(&request.stream);
        let deadline = timeout_ms.and_then(|left| Instant::now().checked_add(Duration::from_millis(left)));
        process.follow(child, outputs, deadline, || {
            self.live().remove(&process.pid);
        });
        Ok(())
    }

    /// Listens to one that runs. Its end is told by whoever follows it.
    pub(super) fn connect(&self, request: &mut Request, which: &Which) -> Result<(), Fault> {
        self.find(&which.process)?.attach(&request.stream)?;
        // Nothing more is said here: this waits until the other side has heard enough.
        let mut byte = [0];
        while matches!(std::io::Read::read(&mut request.stream, &mut byte), Ok(1)) {}
        Ok(())
    }

    pub(super) fn list(&self) -> Listed {
        let one = |process: &Arc<Process>| One {
            config: process.config.clone(),
            pid: process.pid,
            tag: process.tag.clone(),
        };
        Listed { processes: self.live().values().map(one).collect() }
    }

    pub(super) fn signal(&self, asked: &Send) -> Result<(), Fault> {
        let signal = match asked.signal {
            Named::Term => Signal::TERM,
            Named::Kill => Signal::KILL,
            Named::Unspecified => return Err(Fault::invalid("no signal is named")),
        };
        self.find(&asked.process)?.signal(signal)
    }

    pub(super) fn send_input(&self, request: &Request, asked: &Feed) -> Result<(), Fault> {
        feed(&*self.find(&asked.process)?, &asked.input, &request.stream)
    }

    /// The first message names the program, the others are its input.
    pub(super) fn stream_input(&self, request: &mut Request) -> Result<(), Fault> {
        let mut process = None;
        while let Some(Streamed { start, data }) = request.next_message()? {
            match (start, data, &process) {
                (Some(which), _, None) => process = Some(self.find(&which.process)?),
                (Some(_), _, Some(_)) => return Err(Fault::invalid("the process is named twice")),
                (None, Some(data), Some(process)) => feed(process, &data.input, &request.stream)?,
                (None, Some(_), None) => return Err(Fault::invalid("no process is named")),
                // To keep the connection.
                (None, None, _) => {}
            }
        }
        request.answer(&super::Nothing {})
    }

    pub(super) fn close_stdin(&self, which: &Which) -> Result<(), Fault> {
        self.find(&which.process)?.close_input()
    }

    pub(super) fn resize(&self, asked: &Update) -> Result<(), Fault> {
        let process = self.find(&asked.process)?;
        match &asked.pty {
            Some(pty) => process.resize(pty.size),
            None => Ok(()),
        }
    }
}

fn feed(process: &Process, input: &Bytes, asking: &UnixStream) -> Result<(), Fault> {
    let (text, terminal) = match input {
        Bytes { stdin: Some(text), .. } => (text, false),
        Bytes { pty: Some(text), .. } => (text, true),
        Bytes { stdin: None, pty: None } => return Ok(()),
    };
    let bytes = STANDARD.decode(text).map_err(|_| Fault::invalid("the input is no Base64"))?;
    process.feed(&bytes, terminal, asking)
}

struct Started {
    child: Child,
    input: Option<Input>,
    outputs: Vec<(Channel, OwnedFd)>,
}

fn started(asked: &Start) -> Result<Started, Fault> {
    let config = &asked.process;
    if config.cmd.is_empty() {
        return Err(Fault::invalid("there is no command"));
    }
    let folder = place::absolute(config.cwd.as_deref().unwrap_or_default())?;
    if !folder.is_dir() {
        let why = format!("the working directory {} does not exist", folder.display());
        return Err(Fault::invalid(why));
    }
    let failed = |error: std::io::Error| unstartable(&config.cmd, &error);
    match &asked.pty {
        Some(pty) => {
            let (ours, theirs) = terminal::make(pty.size).map_err(failed)?;
            let mut command = terminal::command(&config.cmd).map_err(failed)?;
            let copy = || theirs.try_clone().map(Stdio::from).map_err(failed);
            command.stdin(copy()?).stdout(copy()?).stderr(copy()?);
            let child = spawn(command, config, &folder).map_err(failed)?;
            process::at_once(&ours).map_err(failed)?;
            let input = ours.try_clone().map_err(failed)?;
            Ok(Started {
                child,
                input: Some(Input::Terminal(input)),
                outputs: vec![(Channel::Terminal, ours)],
            })
        }
        None => {
            let mut command = Command::new(&config.cmd);
            command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.stdin(if asked.stdin.unwrap_or(true) { Stdio::piped() } else { Stdio::null() });
            let mut child = spawn(command, config, &folder).map_err(failed)?;
            let input = child.stdin.take().map(OwnedFd::from);
            let outputs = [
                child.stdout.take().map(|pipe| (Channel::Stdout, OwnedFd::from(pipe))),
                child.stderr.take().map(|pipe| (Channel::Stderr, OwnedFd::from(pipe))),
            ];
            let outputs: Vec<_> = outputs.into_iter().flatten().collect();
            outputs.iter().map(|(_, fd)| fd).chain(&input).try_for_each(process::at_once).map_err(failed)?;
            Ok(Started { child, input: input.map(Input::Pipe), outputs })
        }
    }
}

fn spawn(mut command: Command, config: &Config, folder: &std::path::Path) -> std::io::Result<Child> {
    command.args(&config.args).envs(&config.envs).current_dir(folder).spawn()
}
