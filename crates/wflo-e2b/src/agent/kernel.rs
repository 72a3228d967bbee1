//! One kernel: a program that runs cells in one namespace, and says what came of each.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use super::Request;
use super::process::{Read, at_once, read, unstartable};
use crate::fault::{Fault, Kind};
use crate::frame;

const BOOT: &str = include_str!("../../kernel/boot.py");
const CHARTS: &str = include_str!("../../kernel/charts.py");
const KERNEL: &str = include_str!("../../kernel/kernel.py");

/// How long a kernel has to begin.
const BEGIN: Duration = Duration::from_secs(60);
/// How long code that was interrupted has to stop, before its kernel is ended.
const STOP: Duration = Duration::from_secs(5);

/// A kernel that runs. Dropped, it ends, with all that its code has started in its group.
#[derive(Debug)]
pub(super) struct Kernel {
    child: Child,
    group: Option<Pid>,
    link: UnixStream,
    /// What has arrived of a line.
    part: Vec<u8>,
    outputs: [Output; 2],
}

/// What code prints.
#[derive(Debug)]
struct Output {
    name: &'static str,
    pipe: Option<OwnedFd>,
    text: Text,
}

/// How one cell ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The kernel waits for another.
    Ready,
    /// It has died, or had to be ended.
    Dead,
}

/// Ends a kernel from elsewhere.
pub(super) fn kill(group: Pid) {
    // Whatever has gone already needs no signal.
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
}

impl Kernel {
    /// # Errors
    /// When there is no Python, or it does not begin.
    pub(super) fn start(folder: &Path) -> Result<Kernel, Fault> {
        let failed = |error: io::Error| unstartable("python3", &error);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut command = Command::new("python3");
        command.args(["-c", BOOT]).current_dir(folder).process_group(0);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        // Its end of the socket lives in the command, too.
        drop(command);
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let stdout = child.stdout.take().map(OwnedFd::from);
        let stderr = child.stderr.take().map(OwnedFd::from);
        stdout.iter().chain(&stderr).try_for_each(at_once).map_err(failed)?;
        let output = |name, pipe| Output { name, pipe, text: Text::default() };
        let outputs = [output("stdout", stdout), output("stderr", stderr)];
        let mut kernel = Kernel { child, group, link: ours, part: Vec::new(), outputs };
        let modules = json!({ "wflo_charts": CHARTS, "wflo_kernel": KERNEL });
        kernel.tell(&modules).map_err(failed)?;
        kernel.link.set_read_timeout(Some(BEGIN)).map_err(failed)?;
        match kernel.lines() {
            Ok(Some(lines)) if lines.iter().any(|line| line.get("type") == Some(&json!("ready"))) => {}
            Ok(Some(_)) => return Err(Fault::new(Kind::Internal, "the kernel does not begin as it should")),
            Ok(None) | Err(_) => {
                let said = kernel.outputs.iter_mut().filter_map(Output::now).collect::<String>();
                let said = said.trim_end().lines().last().unwrap_or_default().to_owned();
                return Err(Fault::new(Kind::Internal, format!("the kernel does not begin: {said}")));
            }
        }
        kernel.link.set_read_timeout(None).map_err(failed)?;
        Ok(kernel)
    }

    /// What its processes are signalled by.
    pub(super) fn group(&self) -> Option<Pid> {
        self.group
    }

    fn tell(&mut self, line: &Value) -> io::Result<()> {
        let mut line = line.to_string().into_bytes();
        line.push(b'\n');
        self.link.write_all(&line)
    }

    /// What has arrived in whole lines, once at least one has; `None` when nothing will any more.
    fn lines(&mut self) -> io::Result<Option<Vec<Value>>> {
        let mut bytes = vec![0; frame::CHUNK];
        loop {
            let got = self.link.read(&mut bytes)?;
            if got == 0 {
                return Ok(None);
            }
            self.part.extend_from_slice(bytes.get(..got).unwrap_or_default());
            if self.part.len() > frame::MOST {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line of the kernel's is too long"));
            }
            if let Some(end) = self.part.iter().rposition(|byte| *byte == b'\n') {
                let rest = self.part.split_off(end + 1);
                let whole = std::mem::replace(&mut self.part, rest);
                let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                return Ok(Some(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()));
            }
        }
    }

    /// Runs one cell, and tells `request` what comes of it. Whoever stops listening stops the cell.
    pub(super) fn run(
        &mut self,
        code: &str,
        env: &BTreeMap<String, String>,
        request: &mut Request,
    ) -> Result<Ended, Fault> {
        let gone = |error: io::Error| Fault::of_io("the kernel is gone", &error);
        self.tell(&json!({ "code": code, "env": env })).map_err(gone)?;
        let mut stop: Option<Instant> = None;
        loop {
            let left = stop.map(|stop| stop.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(Ended::Dead);
            }
            let ready = self.wait(stop.is_none().then_some(&request.stream), left).map_err(gone)?;
            let mut listening = stop.is_none();
            for output in &mut self.outputs {
                if let Some(text) = output.now() {
                    listening = listening && said(request, output.name, &text).is_ok();
                }
            }
            if ready.link {
                let Some(lines) = self.lines().map_err(gone)? else {
                    let line = json!({
                        "type": "error",
                        "name": "KernelDied",
                        "value": "the kernel has ended: its variables are gone, and the next code begins another",
                        "traceback": "",
                    });
                    request.answer(&line)?;
                    return Ok(Ended::Dead);
                };
                for line in lines {
                    if line.get("type") == Some(&json!("end_of_execution")) {
                        for output in &mut self.outputs {
                            if let Some(text) = output.now().filter(|_| listening) {
                                said(request, output.name, &text)?;
                            }
                        }
                        return Ok(Ended::Ready);
                    }
                    listening = listening && request.answer(&line).is_ok();
                }
            }
            if stop.is_none() && (ready.gone || !listening) {
                stop = Instant::now().checked_add(STOP);
                if let Some(group) = self.group {
                    let _ = rustix::process::kill_process_group(group, Signal::INT);
                }
            }
        }
    }

    /// Waits until something can be read.
    fn wait(&self, asking: Option<&UnixStream>, left: Option<Duration>) -> io::Result<Ready> {
        let mut wanted = vec![PollFd::new(&self.link, PollFlags::IN)];
        wanted.extend(asking.map(|asking| PollFd::new(asking, PollFlags::IN)));
        let pipes = self.outputs.iter().filter_map(|output| output.pipe.as_ref());
        let pipes: Vec<_> = pipes.map(AsFd::as_fd).collect();
        wanted.extend(pipes.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut wanted, left.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Ready::default()),
            Err(error) => return Err(error.into()),
        }
        let has_news = |at: usize| wanted.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Ready { link: has_news(0), gone: asking.is_some() && has_news(1) })
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            kill(group);
        }
        let _ = self.child.wait();
    }
}

#[derive(Debug, Default)]
struct Ready {
    link: bool,
    /// Nobody listens any more.
    gone: bool,
}

impl Output {
    /// What can be read now.
    fn now(&mut self) -> Option<String> {
        let mut all = String::new();
        while let Some(pipe) = &self.pipe {
            match read(pipe) {
                Read::Some(bytes) => all.push_str(&self.text.more(&bytes)),
                Read::Nothing => break,
                Read::End => self.pipe = None,
            }
            // The rest has its turn after what else there is.
            if all.len() > frame::MOST / 16 {
                break;
            }
        }
        Some(all).filter(|all| !all.is_empty())
    }
}

fn said(request: &mut Request, name: &str, text: &str) -> Result<(), Fault> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let timestamp = now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as i64);
    request.answer(&json!({ "type": name, "text": text, "timestamp": timestamp }))
}

/// Text that arrives in bytes, cut anywhere.
#[derive(Debug, Default)]
struct Text {
    part: Vec<u8>,
}

impl Text {
    /// What is whole now; what is no text is replaced.
    fn more(&mut self, bytes: &[u8]) -> String {
        self.part.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.part) {
            Ok(_) => self.part.len(),
            // A character that has not ended is no error yet.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.part.len(),
        };
        let rest = self.part.split_off(whole);
        String::from_utf8_lossy(&std::mem::replace(&mut self.part, rest)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn a_character_that_is_cut_is_whole_in_the_end() {
        let mut text = Text::default();
        let bytes = "a€b".as_bytes();
        assert_eq!(text.more(&bytes[..2]), "a");
        assert_eq!(text.more(&bytes[2..]), "€b");
        assert_eq!(text.more(b"\xff!"), "\u{fffd}!");
    }
}
