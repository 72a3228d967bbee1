//! Node: what of it is shown, and the runner that it runs.
//!
//! The runner is a part of this program. Its files are written to the state folder, where sandboxes are shown
//! them, under the hash of what they hold: another version of wflo has another folder.
//! **Architecture Invariant:** a file in that folder is whole or not there, whoever writes beside it and
//! whenever it is killed; nothing of a step can write there.

use std::io;
use std::path::{Path, PathBuf};

use rustix::process::getpid;

use super::{Interpreter, Language, Surroundings};
use crate::program;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../../node/", $name)))),*]
    };
}

/// The runner and the SDK, each by its name below the folder.
const FILES: [(&str, &str); 25] = files![
    "runner/broker.mjs",
    "runner/calls.mjs",
    "runner/channel.mjs",
    "runner/deliveries.mjs",
    "runner/failure.mjs",
    "runner/hooks.mjs",
    "runner/identities.mjs",
    "runner/loader.mjs",
    "runner/main.mjs",
    "runner/patience.mjs",
    "runner/resources.mjs",
    "runner/restore.mjs",
    "runner/timers.mjs",
    "runner/turn.mjs",
    "wflo/calls.mjs",
    "wflo/context.mjs",
    "wflo/db.mjs",
    "wflo/effect.mjs",
    "wflo/errors.mjs",
    "wflo/index.mjs",
    "wflo/llm.mjs",
    "wflo/place.mjs",
    "wflo/tools.mjs",
    "wflo/values.mjs",
    "wflo/workflow.mjs",
];

impl Interpreter {
    /// Reads what a Node, an absolute path, needs to be shown.
    ///
    /// # Errors
    /// Why it cannot be used, as text for a person.
    pub fn node(program: &Path, around: &Surroundings) -> Result<Interpreter, String> {
        if !program::is_program(program) {
            return Err("it is no program".to_owned());
        }
        let shown = program::shown_of(program, around).map_err(|failure| failure.message)?;
        Ok(Interpreter {
            program: program.to_owned(),
            folders: shown,
            sdk_path: None,
            language: Language::Node,
        })
    }
}

/// The folder of the runner, below `root`; written first if it is not whole.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn runner(root: &Path) -> io::Result<PathBuf> {
    let mut hasher = blake3::Hasher::new();
    for (name, text) in FILES {
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    let folder = root.join("node").join(&hasher.finalize().to_hex()[..16]);
    for (name, text) in FILES {
        let place = folder.join(name);
        if std::fs::read(&place).is_ok_and(|there| there == text.as_bytes()) {
            continue;
        }
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent)?;
        }
        // Beside its place and renamed: nobody reads half of it, and two who write it write the same.
        let thread = format!("{:?}", std::thread::current().id());
        let part = place.with_extension(format!("{}-{}.part", getpid().as_raw_nonzero(), digits(&thread)));
        std::fs::write(&part, text)?;
        std::fs::rename(&part, &place)?;
    }
    Ok(folder)
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_runner_is_part_of_the_program() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../node");
        let mut found = Vec::new();
        for folder in ["runner", "wflo"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap() {
                found.push(format!("{folder}/{}", entry.unwrap().file_name().into_string().unwrap()));
            }
        }
        found.sort();
        assert_eq!(found, FILES.map(|(name, _)| name));
    }

    #[test]
    fn a_file_that_is_cut_off_is_written_anew_and_nothing_is_left_beside() {
        let root = tempfile::tempdir().unwrap();
        let folder = runner(root.path()).unwrap();
        let main = folder.join("runner/main.mjs");
        std::fs::write(&main, "half").unwrap();
        std::thread::scope(|scope| {
            (0..8).for_each(|_| {
                scope.spawn(|| assert_eq!(runner(root.path()).unwrap(), folder));
            });
        });
        assert!(std::fs::read_to_string(&main).unwrap().contains("WFLO_RUNNER_FD"));
        let names = ["runner", "wflo"].map(|part| std::fs::read_dir(folder.join(part)).unwrap().count());
        assert_eq!(names.iter().sum::<usize>(), FILES.len());
    }
}
