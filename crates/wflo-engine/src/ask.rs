//! Asking a Python about itself: in a sandbox that holds it and nothing else.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use wflo_core::error::{Coded, Failure};
use wflo_core::size::{Bytes, Millis};
use wflo_sandbox::{Bind, Launcher, Limits, Outcome, Spec, Stdio};

use crate::interpreter::Interpreter;

/// How long an interpreter may take to answer.
const DEADLINE: Duration = Duration::from_secs(20);
/// The most that is read of its answer, in bytes.
const ANSWER: usize = 64 << 10;

/// What an interpreter says of itself. It is the interpreter's word and no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// `3.11.7`.
    pub version: String,
    /// The SDK's version, or why it cannot be imported.
    pub sdk: Result<String, String>,
}

const QUESTION: &str = "
import sys
print('%d.%d.%d' % sys.version_info[:3])
try:
    import wflo
    print('sdk', getattr(wflo, '__version__', 'unknown'))
except Exception as error:
    print('no', type(error).__name__ + ':', error)
";

/// Asks the interpreter; blocks. `ro` is what the settings show as well, source and target.
///
/// # Errors
/// Why there is no answer: no sandbox could be made, or it does not start.
pub fn ask(
    launcher: &Launcher,
    interpreter: &Interpreter,
    ro: &[(PathBuf, PathBuf)],
) -> Result<Said, Failure> {
    let silent = |detail: String| crate::interpreter::unusable(&interpreter.program, &detail);
    let program = interpreter.program.clone().into_os_string();
    let mut spec = Spec::new([program, "-c".into(), QUESTION.into()]);
    spec.env = vec![("PYTHONDONTWRITEBYTECODE".into(), "1".into())];
    if let Some(sdk) = &interpreter.sdk_path {
        spec.env.push(("PYTHONPATH".into(), sdk.clone().into_os_string()));
    }
    spec.ro = interpreter.folders.iter().map(Bind::same).collect();
    spec.ro.extend(ro.iter().map(|(source, target)| Bind::new(source, target)));
    let limit = u64::try_from(DEADLINE.as_millis()).unwrap_or(20_000);
    spec.limits = Limits {
        memory: Some(Bytes(1 << 30)),
        pids: Some(64),
        timeout: Some(Millis(limit)),
        ..Limits::default()
    };
    let (answer, answer_in) = crate::sandboxed::pipe().map_err(|e| silent(e.to_string()))?;
    spec.stdout = Stdio::Fd(answer_in);
    let sandbox = launcher.launch(spec).map_err(|e| e.to_failure())?;
    let text = read(&answer);
    let exit = sandbox.wait().map_err(|e| e.to_failure())?;
    let mut lines = text.lines();
    let Some(version) = lines.next() else {
        return Err(silent(match exit.outcome {
            Outcome::NotExecuted(errno) => {
                format!("it cannot be started: {}", std::io::Error::from_raw_os_error(errno))
            }
            _ => "it ended without an answer".to_owned(),
        }));
    };
    let sdk = match lines.next() {
        Some(line) if line.starts_with("sdk ") => Ok(line["sdk ".len()..].to_owned()),
        Some(line) => Err(line.strip_prefix("no ").unwrap_or(line).to_owned()),
        None => Err("no answer".to_owned()),
    };
    Ok(Said { version: version.to_owned(), sdk })
}

/// All that comes, until the other end is closed or it is too much or too late.
fn read(pipe: &OwnedFd) -> String {
    let end = Instant::now() + DEADLINE;
    let (mut text, mut piece) = (Vec::new(), vec![0_u8; 4 << 10]);
    while text.len() < ANSWER {
        let left = end.saturating_duration_since(Instant::now());
        let left = rustix::event::Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut ready = [rustix::event::PollFd::new(pipe, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut ready, Some(&left)) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
        match rustix::io::read(pipe, &mut piece) {
            Ok(0) => break,
            Ok(count) => text.extend_from_slice(&piece[..count]),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    // A program's own words: no control characters reach a terminal.
    String::from_utf8_lossy(&text).chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}
