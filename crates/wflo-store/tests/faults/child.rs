//! Another process: this test binary again, running one of its ignored tests.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Where the child finds its data directory.
const FOLDER: &str = "WFLO_STORE_TEST_FOLDER";

/// Marks the lines that are for the parent; the test harness prints others.
const MARK: &str = "# ";

/// The folder that the parent gave; `None` when somebody runs ignored tests by hand.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Tells the parent something, at once.
pub fn tell(line: &str) {
    use std::io::Write as _;
    // One write for the whole line: it is seen whole or not at all.
    let _ = std::io::stdout().lock().write_all(format!("{MARK}{line}\n").as_bytes());
}

/// The command that runs the ignored test `name` on `folder`.
pub fn command(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1", "--quiet"])
        .env(FOLDER, folder);
    command
}

/// A child whose lines can be read. Killed and reaped when dropped.
pub struct Running {
    pub child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub fn start(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    /// The next line for us; `None` at the end.
    pub fn line(&mut self) -> Option<String> {
        loop {
            let line = self.lines.next()?.ok()?;
            // The harness may have begun a line of its own.
            if let Some((_, told)) = line.split_once(MARK) {
                return Some(told.to_owned());
            }
        }
    }

    /// Reads to the end; whether the child's test passed.
    pub fn finish(mut self) -> (Vec<String>, bool) {
        let told = std::iter::from_fn(|| self.line()).collect();
        (told, self.child.wait().unwrap().success())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
