//! Running the binary in a folder of its own, with an environment of its own.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use wflo_core::ports::clock::Clock as _;

/// A folder in which commands run; gone at the end.
pub struct Folder {
    temporary: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

/// Waits while a day is about to end, by UTC or in Berlin: what is told by the day stands in one line then.
pub fn within_one_day() {
    loop {
        let now = wflo_engine::clock::SystemClock::default().now().as_second() % (24 * 3_600);
        let ends = |hour: i64| (0..=120).contains(&(hour * 3_600 - now));
        // Berlin's is two hours earlier in summer, and one in winter.
        if ![22, 23, 24].into_iter().any(ends) {
            return;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// How a command ended.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Folder {
    pub fn new() -> Self {
        Folder { temporary: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }

    /// A folder with these files.
    pub fn with(files: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn path(&self) -> PathBuf {
        std::fs::canonicalize(self.temporary.path()).unwrap().join("here")
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    pub fn exists(&self, name: &str) -> bool {
        self.path().join(name).exists()
    }

    /// Whoever decides about the latest question has read it.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        if let ["approvals", "approve" | "reject", "latest", ..] = arguments {
            self.run_with(&["approvals", "show", "latest"], "");
        }
        self.run_with(arguments, "")
    }

    /// Runs the binary with `input` on its standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Ended {
        let mut child = self.start(arguments);
        // A command that reads no input may have ended before it could be written.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        self.ended(child)
    }

    /// Starts the binary, its streams as pipes.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.start_under(arguments, &[])
    }

    /// Starts the binary under a few variables more.
    pub fn start_under(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Child {
        std::fs::create_dir_all(self.path()).unwrap();
        let home = self.path().parent().unwrap().join("home");
        std::fs::create_dir_all(&home).unwrap();
        Command::new(env!("CARGO_BIN_EXE_wflo"))
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("HOME", &home)
            .env("PATH", "/usr/bin:/bin")
            // Whatever listens on this machine's usual ports is not part of a test.
            .env("WFLO_MODEL_PORTS", "none")
            .envs(self.environment.iter().cloned())
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits for a command that was started.
    pub fn ended(&self, child: Child) -> Ended {
        let output = child.wait_with_output().unwrap();
        Ended {
            // A signal's number above 128, as a shell has it.
            code: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap()),
            stdout: self.plain(&output.stdout),
            stderr: self.plain(&output.stderr),
        }
    }

    /// What was printed, with this test's folder as `[DIR]`.
    fn plain(&self, bytes: &[u8]) -> String {
        let here = self.path();
        let folder = here.parent().unwrap_or(Path::new("/")).display().to_string();
        String::from_utf8(bytes.to_vec()).unwrap().replace(&folder, "[DIR]")
    }

    /// The command and how it ended, for a snapshot.
    pub fn shown(&self, arguments: &[&str]) -> String {
        shown(arguments, &self.run(arguments))
    }
}

pub fn shown(arguments: &[&str], ended: &Ended) -> String {
    let Ended { code, stdout, stderr } = ended;
    format!("$ wflo {}\nexit: {code}\n----- stdout\n{stdout}\n----- stderr\n{stderr}", arguments.join(" "))
}
