//! Roots that are built once and shown to many sandboxes: a project's Python packages, and programs of the
//! machine's distribution.
//!
//! A project names what its steps need (`[sandbox] requirements` and `packages`); it is installed in a sandbox that reaches
//! the hosts of the index and no other, what that sandbox wrote is sealed as any step's files are, and from
//! then on it is shown read-only, by the hash of all that went into it.
//! **Architecture Invariant:** nothing that a project or an index contains is executed on the host, and a build
//! sees nothing of the project but the lines that were read for it ([`requirements`]).
//! **Architecture Invariant:** an image is there once its record is, which is written last and whole; who is
//! killed before leaves nothing that anybody looks at ([`store`]).

mod build;
mod error;
mod identity;
mod index;
mod requirements;
mod shown;
mod store;
mod system;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;
use wflo_core::ports::clock::Clock;
use wflo_core::size::Bytes;
use wflo_sandbox::workspace::{Digest, HideRules};

pub use self::error::ImageError;
pub use self::index::{DEFAULT_INDEX, Index};
pub use self::requirements::Requirements;
pub use self::store::{Archive, Held, Images, Kind, Record, Removed};
pub use self::system::{Named, NotNamed, Programs, System, known_system};
use crate::hosts::Hosts;
use crate::interpreter::{Interpreter, Surroundings};

/// Where an environment of packages is, in every sandbox that has it.
pub(crate) const PYTHON: &str = "/opt/wflo/python";
/// What may be written while packages are installed, where nothing is said.
pub const USUAL_DISK: Bytes = Bytes(4 << 30);
/// The kind of an image, and the version of how it is built: another way of building is another image.
const PYTHON_KIND: &str = "python-1";

/// An image, as a run has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// What it was built of.
    pub key: String,
    /// What was sealed as that when the run began: another one may be built under the key while the run waits.
    pub tree: Digest,
}

/// The packages of a run's steps, as it is kept with the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packages {
    /// The image.
    pub key: String,
    /// What was sealed as that when the run began: another one may be built under the key while the run waits.
    pub tree: Digest,
    /// The SDK on this host: an environment of packages holds what was asked for and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdk: Option<PathBuf>,
}

impl Packages {
    /// Without what is shown beside it.
    #[must_use]
    pub fn image(&self) -> Image {
        Image { key: self.key.clone(), tree: self.tree }
    }
}

/// What is installed for a run.
#[derive(Debug, Clone, Default)]
pub struct Installed {
    /// Python packages.
    pub python: Option<Ready>,
    /// Programs of the distribution.
    pub system: Option<System>,
}

/// What a project wants to have installed for its Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The packages.
    pub requirements: Requirements,
    /// Where they are from.
    pub index: Index,
    /// Whether packages without a wheel are built, which runs their code: in the same sandbox.
    pub source_builds: bool,
    /// What may be written meanwhile.
    pub disk: Bytes,
}

/// Who builds, and with what.
pub struct Builder {
    /// Where images are kept.
    pub images: Arc<Images>,
    /// When they are built.
    pub clock: Arc<dyn Clock>,
    /// The program that is its own sandbox launcher.
    pub launcher: PathBuf,
    /// What is hidden from sandboxes, beside the globs of a project.
    pub rules: HideRules,
    /// Whom connections trust, and the secrets that the index's address may name.
    pub hosts: Arc<Hosts>,
    /// The variables that secrets are named by in an address, and what the settings call each.
    pub secrets: Vec<(String, String)>,
    /// Hosts that the user keeps out, whatever else says so.
    pub deny_hosts: Vec<String>,
    /// Addresses that are no public ones and may be reached under the names of an index.
    pub allow_addresses: Vec<String>,
}

/// Whether something may be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Building {
    /// Where it is not there yet.
    WhereMissing,
    /// Although it is there: what the index has now may be newer.
    Again,
    /// Not at all.
    Never,
}

/// What is told while something is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Another process builds or removes the same; it is waited for.
    Waiting,
    /// It is begun.
    Begun,
    /// What the installer says, on one line.
    Said(String),
}

/// An image that is there.
#[derive(Debug, Clone)]
pub struct Ready {
    /// What it is.
    pub record: Record,
    /// The interpreter that its packages are for.
    pub base: Interpreter,
    /// Whether it was built now.
    pub built: bool,
    /// Keeps it from being removed.
    pub held: Held,
}

impl Builder {
    /// The packages for an interpreter, built first where they are not there.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn python(
        &self,
        python: &Path,
        wanted: &Wanted,
        around: &Surroundings,
        building: Building,
        told: &mpsc::Sender<Progress>,
    ) -> Result<Ready, ImageError> {
        let base = base_of(python, around)?;
        let (images, launcher) = (Arc::clone(&self.images), self.launcher.clone());
        let (asked, rules) = (base.clone(), self.rules.clone());
        let identity = tokio::task::spawn_blocking(move || identity::of(&images, &launcher, &asked, &rules));
        let identity = identity.await.map_err(|e| ImageError::Broken(e.to_string()))??;
        let key = key_of(&identity, wanted)?;
        if building != Building::Again
            && let Some((record, held)) = self.images.open(&key).await?
        {
            return Ok(Ready { record, base, built: false, held });
        }
        if building == Building::Never {
            return Err(ImageError::NotBuilt { what: wanted.requirements.named() });
        }
        let (record, held, built) =
            build::python(self, &key, wanted, &base, &identity, building, told).await?;
        Ok(Ready { record, base, built, held })
    }
}

/// What the packages for an interpreter are called, if that is known without asking it anything.
#[must_use]
pub fn known_key(images: &Images, python: &Path, wanted: &Wanted, around: &Surroundings) -> Option<String> {
    let base = base_of(python, around).ok()?;
    key_of(&identity::known(images, &base)?, wanted).ok()
}

impl Ready {
    /// The interpreter that finds the packages.
    #[must_use]
    pub fn interpreter(&self) -> Interpreter {
        self.base.with_packages()
    }

    /// What a run says of them.
    #[must_use]
    pub fn described(&self) -> String {
        let key = self.record.key.get(..12).unwrap_or_default();
        format!("steps find the packages {key}: {}", self.record.some_packages())
    }

    /// Whether the packages bring a program of this name.
    #[must_use]
    pub fn has_program(&self, name: &str, images: &Images) -> bool {
        images.program(&self.record, &["bin"], name).is_some()
    }
}

/// The interpreter behind a virtual environment: what packages are for is not what another environment holds.
fn base_of(python: &Path, around: &Surroundings) -> Result<Interpreter, ImageError> {
    let unusable = |why: String| ImageError::NoInterpreter { program: python.to_owned(), why };
    let real = python.canonicalize().map_err(|e| unusable(e.to_string()))?;
    if real.starts_with(&around.project) {
        return Err(unusable("it is a file of the project, and no installation".to_owned()));
    }
    let mut base = Interpreter::read(&real, around).map_err(unusable)?;
    base.sdk_path = None;
    Ok(base)
}

/// The name of what is built of this; equal ones are one image.
fn key_of(identity: &identity::Identity, wanted: &Wanted) -> Result<String, ImageError> {
    let made_of = json!([
        PYTHON_KIND,
        identity,
        wanted.requirements.lines(),
        wanted.requirements.constraints(),
        wanted.index.written(),
        wanted.source_builds,
    ]);
    let digest =
        wflo_core::canonical::Digest::of_json(&made_of).map_err(|e| ImageError::Broken(e.to_string()))?;
    Ok(digest.as_str().chars().take(32).collect())
}

#[cfg(test)]
mod tests;
