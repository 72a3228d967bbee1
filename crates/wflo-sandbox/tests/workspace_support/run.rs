//! A run without a sandbox: an upper directory that a test writes, and what came of it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode};
use wflo_sandbox::workspace::{
    ApplyOptions, Bounds, Confirmed, Hidden, Report, Sensitive, View, WorkspaceError, apply, capture,
};

use super::project::{Project, write};

/// A sealed project and the upper directory of a step that ran on it.
pub struct Run {
    pub project: Project,
    pub view: View,
}

impl Run {
    pub fn new(files: &[(&str, &str)]) -> Run {
        Run::of(files, |_| ())
    }

    /// Sealed once `more` was done to the project.
    pub fn of(files: &[(&str, &str)], more: impl FnOnce(&Project)) -> Run {
        let project = Project::new();
        for (path, content) in files {
            project.write(path, content);
        }
        more(&project);
        let view = project.view();
        fs::create_dir(project.home.path().join("upper")).unwrap();
        Run { project, view }
    }

    pub fn upper(&self, path: &str) -> PathBuf {
        self.project.home.path().join("upper").join(path)
    }

    pub fn writes(&self, path: &str, content: &str) {
        write(&self.upper(path), content);
    }

    pub fn removes(&self, path: &str) {
        fs::create_dir_all(self.upper(path).parent().unwrap()).unwrap();
        rustix::fs::mknodat(CWD, self.upper(path), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    }

    /// The step is over.
    pub fn ends(&mut self) {
        let upper = fs::File::open(self.upper("")).unwrap();
        let captured = capture(upper.as_fd(), &self.project.store, &Bounds::default()).unwrap().unwrap();
        self.view.layers.push(captured.layer);
    }

    pub fn apply(&self, options: &ApplyOptions) -> Result<Report, WorkspaceError> {
        self.apply_hiding(&self.project.hidden(), options)
    }

    pub fn apply_hiding(&self, hidden: &Hidden, options: &ApplyOptions) -> Result<Report, WorkspaceError> {
        apply(&self.view, &self.project.store, &self.project.path(), hidden, options)
    }

    /// A file as steps see it at first.
    pub fn reads_sealed(&self, path: &str) -> String {
        let Run { project, view } = self;
        let tree = project.store.tree(&view.sealed.digest);
        fs::read_to_string(tree.join(path)).unwrap_or_else(|error| error.to_string())
    }

    pub fn reads(&self, path: &str) -> String {
        fs::read_to_string(self.project.path().join(path)).unwrap_or_else(|error| error.to_string())
    }
}

pub fn everything() -> ApplyOptions {
    ApplyOptions { confirmed: Confirmed::All, ..ApplyOptions::default() }
}

pub fn paths(report: &Report) -> Vec<String> {
    report.applied.iter().map(|change| change.path.to_string()).collect()
}

/// What waits for the user's word, and why.
pub fn asked(report: &Report) -> Vec<(String, Sensitive)> {
    report.unconfirmed.iter().map(|(change, why)| (change.path.to_string(), *why)).collect()
}
