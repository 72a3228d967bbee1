//! The keeper's program: how it comes to be in a sandbox, and how it is started there.
//!
//! A template that has the very same file as [`OWN`] is not filled: the cloud's shell compares hashes before it
//! starts that, and what has started proves what it is once more, as one that was brought does.

use super::daemon::Brought;
use super::{Error, INSIDE};
use crate::native::LAUNCHER_ARGUMENT;
use crate::remote::KEEPER;
use crate::remote::linked::Linked;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where a template has wflo, if it has.
const OWN: &str = "/usr/local/bin/wflo";

/// What becomes the keeper.
#[derive(Debug)]
pub(super) struct Program {
    linked: Linked,
    /// What it says that it is.
    pub(super) hash: blake3::Hash,
    /// What `sha256sum` says of it, which templates have.
    sha256: String,
    /// The template was found to have another, or none.
    absent: AtomicBool,
}

impl Program {
    /// Reads it.
    pub(super) fn new(program: &Path) -> Result<Program, Error> {
        let linked = Linked::new(program);
        let io = |source| Error::Io { what: "reading wflo's program", source };
        let (hash, sha256) = hashes(&linked.program).map_err(io)?;
        Ok(Program { linked, hash, sha256, absent: AtomicBool::new(false) })
    }

    /// The files that are brought.
    pub(super) fn brought(&self) -> Vec<Brought> {
        let libraries = self.linked.libraries.iter().map(|from| (from, name_of(from)));
        std::iter::once((&self.linked.program, "wflo".to_owned()))
            .chain(libraries)
            .map(|(from, name)| Brought { from: from.clone(), to: format!("{INSIDE}/own/{name}") })
            .collect()
    }

    /// What starts that which was brought: it may not be executed before somebody says so.
    pub(super) fn command(&self) -> Vec<String> {
        let own = format!("{INSIDE}/own");
        let start = match self.linked.loader().map(|loader| name_of(loader)) {
            Some(loader) => {
                format!("chmod 700 {own}/{loader} && exec {own}/{loader} --library-path {own} {own}/wflo")
            }
            None => format!("chmod 700 {own}/wflo && exec {own}/wflo"),
        };
        shell(&format!("{start} {LAUNCHER_ARGUMENT} {KEEPER} {own}/wflo"))
    }

    /// What starts the template's own; `None` once it is known to have none.
    pub(super) fn of_template(&self) -> Option<Vec<String>> {
        let same = format!(r#"[ "$(sha256sum {OWN} 2>/dev/null | cut -c1-64)" = {} ]"#, self.sha256);
        let line = format!("{same} && exec {OWN} {LAUNCHER_ARGUMENT} {KEEPER} {OWN}; exit 127");
        (!self.absent.load(Ordering::Relaxed)).then(|| shell(&line))
    }

    /// The template has none.
    pub(super) fn is_absent(&self) {
        self.absent.store(true, Ordering::Relaxed);
    }
}

fn shell(line: &str) -> Vec<String> {
    ["/bin/sh", "-c", line].map(str::to_owned).to_vec()
}

fn hashes(program: &Path) -> io::Result<(blake3::Hash, String)> {
    let mut file = File::open(program)?;
    let (mut own, mut theirs) = (blake3::Hasher::new(), ring::digest::Context::new(&ring::digest::SHA256));
    let mut part = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut part)?;
        let Some(part) = part.get(..read).filter(|part| !part.is_empty()) else { break };
        own.update(part);
        theirs.update(part);
    }
    let hex = theirs.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((own.finalize(), hex))
}

fn name_of(library: &Path) -> String {
    library.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn only_the_same_file_is_started_where_a_template_has_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("wflo");
        let write = |text: &str| wflo_testkit::executable::written(&at, text);
        write("#!/bin/sh\necho \"$@\"\n");
        let program = Program::new(&at).unwrap();
        let run = || {
            let [shell, option, line] = program.of_template().unwrap().try_into().unwrap();
            let line = line.replace(OWN, at.to_str().unwrap());
            let output = Command::new(shell).args([option, line]).output().unwrap();
            (output.status.code(), String::from_utf8(output.stdout).unwrap())
        };
        let told = format!("{LAUNCHER_ARGUMENT} {KEEPER} {}\n", at.display());
        assert_eq!(run(), (Some(0), told));
        write("#!/bin/sh\necho another\n");
        assert_eq!(run(), (Some(127), String::new()));
        std::fs::remove_file(&at).unwrap();
        assert_eq!(run(), (Some(127), String::new()));
        program.is_absent();
        assert_eq!(program.of_template(), None);
    }
}
