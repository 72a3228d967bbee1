//! Which Python runs a project's steps, and whether it has the SDK.
//!
//! Order: `WFLO_PYTHON`, the active virtual environment, the project's `.venv`, the `python3` beside this
//! program (the environment that `wflo` was installed in), `python3` and `python` on the path.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::settings::Environment;

/// How long an interpreter may take to answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// What an interpreter says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interpreter {
    /// What to start. A virtual environment's own path is kept: resolving its link would leave it.
    pub(crate) path: PathBuf,
    /// `3.11.7`.
    pub(crate) version: String,
    /// The version of the SDK that it imports; none when it cannot.
    pub(crate) sdk: Option<String>,
    /// Why the SDK cannot be imported.
    pub(crate) sdk_error: Option<String>,
}

/// The interpreter that a project's steps run with.
pub(crate) fn find(root: &Path, environment: &Environment) -> Option<PathBuf> {
    if let Some(given) = environment.get("WFLO_PYTHON") {
        return Some(PathBuf::from(given));
    }
    let active = environment.get("VIRTUAL_ENV").map(PathBuf::from);
    let folders = active.into_iter().chain([root.join(".venv"), root.join("venv")]);
    let of_folder = folders.map(|folder| folder.join("bin/python")).find(|path| path.is_file());
    of_folder.or_else(beside_this_program).or_else(|| {
        let path = environment.get("PATH").unwrap_or_default();
        let named = |name: &'static str| std::env::split_paths(path).map(move |folder| folder.join(name));
        named("python3").chain(named("python")).find(|path| is_program(path))
    })
}

/// The Python of the environment that this program was installed in.
fn beside_this_program() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name("python3");
    is_program(&path).then_some(path)
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
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

/// Asks the interpreter for its version and the SDK's.
///
/// # Errors
/// Why it does not answer, as text for a person.
pub(crate) fn ask(path: &Path) -> Result<Interpreter, String> {
    let mut child = Command::new(path)
        .args(["-c", QUESTION])
        // Not in the project: its files are not to be imported outside a sandbox.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("it cannot be started: {error}"))?;
    let end = Instant::now() + DEADLINE;
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it did not answer within {} seconds", DEADLINE.as_secs()));
            }
            Err(error) => return Err(format!("it cannot be waited for: {error}")),
        }
    }
    let output = child.wait_with_output().map_err(|error| format!("its answer cannot be read: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let version = lines.next().ok_or_else(|| format!("it ended with {}", output.status))?.to_owned();
    let answer = lines.next().unwrap_or("no answer");
    Ok(Interpreter {
        path: path.to_path_buf(),
        version,
        sdk: answer.strip_prefix("sdk ").map(str::to_owned),
        sdk_error: answer.strip_prefix("no ").map(str::to_owned),
    })
}
