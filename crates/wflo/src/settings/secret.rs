//! Keys: named in the settings, fetched when one is needed, never printed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::document::{Kind, Problem, Reader};

use super::{Environment, SettingsError};

/// How long `api_key_command` may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);
/// A key longer than this is not a key.
const LONGEST_KEY: u64 = 64 * 1024;

/// A key. It has no `Display`, and its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// The key itself, for the one place that sends it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

/// Where a provider's key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// An environment variable.
    Variable(String),
    /// A file that holds the key alone.
    File(PathBuf),
    /// A command that prints the key; text is run by `sh -c`. It runs in the folder of the project, wherever the user
    /// is: its words name what was trusted there.
    Command { words: Vec<String>, root: PathBuf },
}

impl KeySource {
    /// Reads `api_key_env`, `api_key_file` or `api_key_command`; at most one.
    pub(super) fn read(reader: &mut Reader<'_>, root: &Path) -> Result<Option<Self>, Problem> {
        KeySource::read_as(reader, root, ["api_key_env", "api_key_file", "api_key_command"])
    }

    /// Reads one of these: a variable, a file, a command.
    pub(super) fn read_as(
        reader: &mut Reader<'_>,
        root: &Path,
        [variable, file, command]: [&'static str; 3],
    ) -> Result<Option<Self>, Problem> {
        let variable = reader.optional(variable);
        let file = reader.optional(file);
        let command = reader.optional(command);
        let given: Vec<_> = [&variable, &file, &command].into_iter().flatten().collect();
        if let [_, second, ..] = given[..] {
            return Err(second.problem(Kind::WrongValue, "is a second place for the same key; keep one"));
        }
        if let Some(field) = variable {
            return Ok(Some(KeySource::Variable(field.name()?.to_owned())));
        }
        if let Some(field) = file {
            return Ok(Some(KeySource::File(root.join(field.name()?))));
        }
        let Some(field) = command else { return Ok(None) };
        let words = match field.text() {
            Ok(line) => vec!["sh".to_owned(), "-c".to_owned(), line.to_owned()],
            Err(_) => field.texts()?,
        };
        if words.is_empty() {
            return Err(field.wrong("a command"));
        }
        Ok(Some(KeySource::Command { words, root: root.to_owned() }))
    }

    /// The command that prints it, if that is where it comes from.
    pub(crate) fn command(&self) -> Option<&[String]> {
        match self {
            KeySource::Command { words, .. } => Some(words),
            _ => None,
        }
    }

    /// Fetches the key of `provider`.
    ///
    /// # Errors
    /// [`SettingsError::Key`], which never holds any part of the key or of a command's output.
    pub(crate) fn fetch(&self, provider: &str, environment: &Environment) -> Result<Secret, SettingsError> {
        self.value(environment).map_err(|NotHad { reason, hint }| SettingsError::Key {
            provider: provider.to_owned(),
            reason,
            hint,
        })
    }

    /// Fetches what is there; blocks.
    ///
    /// # Errors
    /// Why it cannot be had, without any part of it.
    pub(crate) fn value(&self, environment: &Environment) -> Result<Secret, NotHad> {
        let refuse = |reason: String, hint: String| NotHad { reason, hint };
        let text = match self {
            KeySource::Variable(name) => environment.get(name).map(str::to_owned).ok_or_else(|| {
                refuse(format!("the environment variable {name} is not set"), format!("export {name}=…"))
            })?,
            KeySource::File(path) => file(path).map_err(|error| {
                let hint = format!("put the key alone into {}, readable by you only", path.display());
                refuse(format!("{}: {error}", path.display()), hint)
            })?,
            KeySource::Command { words, root } => run(words, root).map_err(|reason| {
                refuse(reason, "run the command by hand: it must print the key and exit with 0".to_owned())
            })?,
        };
        let key = text.trim();
        if key.is_empty() || key.contains(char::is_control) {
            let reason = if key.is_empty() { "it is empty" } else { "it has more than one line" };
            return Err(refuse(reason.to_owned(), "the key must stand there alone, on one line".to_owned()));
        }
        Ok(Secret(key.to_owned()))
    }
}

/// Why a key cannot be had, and what helps.
#[derive(Debug)]
pub(crate) struct NotHad {
    pub(crate) reason: String,
    pub(crate) hint: String,
}

/// What stands in a file. A device or a pipe has no end.
fn file(path: &std::path::Path) -> std::io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let mut text = String::new();
    std::fs::File::open(path)?.take(LONGEST_KEY).read_to_string(&mut text)?;
    Ok(text)
}

/// What the command prints when it runs in `root`, within the deadline.
fn run(words: &[String], root: &Path) -> Result<String, String> {
    let Some((program, arguments)) = words.split_first() else {
        return Err("the command is empty".to_owned());
    };
    // Which folder a relative program is looked for in differs between systems.
    let found = if program.contains('/') { root.join(program) } else { PathBuf::from(program) };
    let mut child = Command::new(found)
        .args(arguments)
        .current_dir(root)
        // What was trusted is the project as it is: nothing is added to it.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("`{program}` cannot be started: {error}"))?;
    let output = child.stdout.take();
    let (told, printed) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = output.map(|output| output.take(LONGEST_KEY).read_to_string(&mut text)).transpose();
        // Who waited for it may have given up.
        let _ = told.send(read.map(|_| text));
    });
    let end = Instant::now() + COMMAND_DEADLINE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("`{program}` did not end within {} seconds", COMMAND_DEADLINE.as_secs()));
            }
            Err(error) => return Err(format!("`{program}` cannot be waited for: {error}")),
        }
    };
    if !status.success() {
        return Err(format!("`{program}` ended with {status}"));
    }
    // What it leaves behind may hold its output open.
    match printed.recv_timeout(end.saturating_duration_since(Instant::now())) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(format!("what `{program}` printed cannot be read: {error}")),
        Err(_) => Err(format!(
            "the output of `{program}` does not end within {} seconds",
            COMMAND_DEADLINE.as_secs()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> KeySource {
        let words = vec!["sh".into(), "-c".into(), line.into()];
        KeySource::Command { words, root: std::env::temp_dir() }
    }

    #[test]
    fn a_command_runs_in_the_projects_folder_wherever_the_user_is() {
        let project = tempfile::tempdir().unwrap();
        std::fs::create_dir(project.path().join("tools")).unwrap();
        let script = project.path().join("tools/key.sh");
        std::fs::write(&script, "#!/bin/sh\necho sk-of-the-root\n").unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for words in [&["tools/key.sh"][..], &["sh", "tools/key.sh"], &["./tools/key.sh"]] {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            let source = KeySource::Command { words, root: project.path().to_owned() };
            assert_eq!(source.fetch("x", &Environment::default()).unwrap().expose(), "sk-of-the-root");
        }
    }

    #[test]
    fn a_key_comes_from_each_of_its_places() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "sk-file\n").unwrap();
        let environment = Environment::of(&[("MY_KEY", "sk-env")]);
        for (source, key) in [
            (KeySource::Variable("MY_KEY".into()), "sk-env"),
            (KeySource::File(file), "sk-file"),
            (shell("echo sk-command"), "sk-command"),
        ] {
            assert_eq!(source.fetch("local", &environment).unwrap().expose(), key);
        }
    }

    #[test]
    fn a_key_that_cannot_be_had_says_why_and_shows_nothing() {
        let environment = Environment::of(&[("EMPTY", "")]);
        for source in [
            KeySource::Variable("EMPTY".into()),
            KeySource::File("/nonexistent/key".into()),
            KeySource::File("/dev/zero".into()),
            shell("echo sk-half; exit 3"),
            shell("printf 'sk-a\\nsk-b\\n'"),
        ] {
            let error = source.fetch("local", &environment).unwrap_err().to_string();
            assert!(error.starts_with("the key of provider `local` cannot be had"), "{error}");
            assert!(!error.contains("sk-half") && !error.contains("sk-a"), "{error}");
        }
    }

    #[test]
    fn debug_hides_the_key() {
        let key = shell("echo sk-1").fetch("local", &Environment::default()).unwrap();
        assert!(!format!("{key:?}").contains("sk-1"));
    }
}
