//! This same binary and the libraries that it is linked to: with those it runs anywhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The binary that is a keeper, and what it needs beside itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Linked {
    pub(crate) program: PathBuf,
    pub(crate) libraries: BTreeSet<PathBuf>,
}

impl Linked {
    /// `program` is linked to what this process, of the same build, has mapped.
    pub(crate) fn new(program: &Path) -> Linked {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let paths = maps.lines().filter_map(|line| line.find('/').and_then(|at| line.get(at..)));
        let libraries = paths.map(PathBuf::from).filter(|path| is_library(path) && path.is_file()).collect();
        let program = program.canonicalize().unwrap_or_else(|_| program.to_owned());
        Linked { program, libraries }
    }

    /// What loads the libraries; a binary that has none in it needs none.
    pub(crate) fn loader(&self) -> Option<&PathBuf> {
        let named = |path: &&PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name.starts_with("ld-linux") || name.starts_with("ld-musl")
        };
        self.libraries.iter().find(named)
    }
}

fn is_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".so") || name.contains(".so.")
}
