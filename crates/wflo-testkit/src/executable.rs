//! Programs that a test makes and then runs.
//!
//! Another process writes them: a file that this one has open to write is "busy" (`ETXTBSY`) in whatever a test beside
//! this one starts meanwhile, which has the descriptor until it becomes another program, and cannot be run.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Copies a program to `to`, for everybody to run, whatever the umask is.
///
/// # Panics
/// When it cannot be copied.
pub fn copied(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let made = install().arg(from.as_ref()).arg(to.as_ref()).status();
    assert!(made.as_ref().is_ok_and(std::process::ExitStatus::success), "{made:?}");
}

/// Writes a program to `to`, for everybody to run; one that is there is replaced.
///
/// # Panics
/// When it cannot be written.
pub fn written(to: impl AsRef<Path>, text: impl AsRef<[u8]>) {
    let child = install().arg("/dev/stdin").arg(to.as_ref()).stdin(Stdio::piped()).spawn();
    let made = child.and_then(|mut child| {
        // Its end is the end of the text.
        let given = child.stdin.take().map(|mut stdin| stdin.write_all(text.as_ref()));
        let status = child.wait()?;
        given.unwrap_or(Ok(()))?;
        Ok(status)
    });
    assert!(made.as_ref().is_ok_and(std::process::ExitStatus::success), "{made:?}");
}

fn install() -> Command {
    let mut command = Command::new("install");
    command.args(["-m", "755", "--"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_can_be_run_at_once() {
        let folder = std::env::temp_dir().join(format!("wflo-testkit-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (own, copy) = (folder.join("own"), folder.join("copy"));
        for text in ["#!/bin/sh\nexit 6\n", "#!/bin/sh\nexit 7\n"] {
            written(&own, text);
            copied(&own, &copy);
        }
        let code = Command::new(&copy).status().unwrap().code();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(code, Some(7));
    }
}
