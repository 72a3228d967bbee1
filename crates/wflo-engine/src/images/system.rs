//! Programs of the machine's distribution (`[sandbox] packages`): what is missing on the machine is fetched once,
//! and seen beneath the toolchain of its sandboxes.
//!
//! What the machine has stays what it is: a package that would replace or remove one of the machine's is refused,
//! and no file of an image hides one of the machine's. No script of a package is run.

mod found;
mod machine;
mod named;
mod sources;

use std::path::Path;

use serde_json::json;
use tokio::sync::mpsc;
use wflo_core::size::Bytes;

use super::error::ImageError;
use super::store::{Held, Images, Record};
use super::{Builder, Building, Image, Progress, build};

pub(super) use self::found::Found;
pub(super) use self::machine::{Machine, STATUS};
pub use self::named::{Named, NotNamed};
pub(super) use self::sources::{APT, INSIDE, Sources};

/// The version of how such an image is built: another way of building is another image.
const KIND: &str = "system-1";
/// Where programs are, in the order of the search path.
const FOLDERS: [&str; 4] = ["usr/sbin", "usr/bin", "sbin", "bin"];

/// What a project wants of the distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The packages, each once.
    pub packages: Vec<Named>,
    /// Further hosts that files are fetched from, as rules.
    pub hosts: Vec<String>,
    /// What may be written meanwhile.
    pub disk: Bytes,
}

/// What a build of programs begins with.
#[derive(Debug)]
pub(super) struct Basis {
    pub(super) machine: Machine,
    pub(super) sources: Sources,
}

impl Basis {
    /// Reads it from this machine's files; blocks.
    fn read() -> Result<Basis, ImageError> {
        Ok(Basis { machine: Machine::read()?, sources: Sources::read(Path::new(APT))? })
    }

    /// The name of what is built of this; equal ones are one image.
    fn key(&self, wanted: &Programs) -> Result<String, ImageError> {
        let packages: Vec<String> = wanted.packages.iter().map(ToString::to_string).collect();
        let made_of = json!([KIND, self.machine, self.sources, packages]);
        let digest =
            wflo_core::canonical::Digest::of_json(&made_of).map_err(|e| ImageError::Broken(e.to_string()))?;
        Ok(digest.as_str().chars().take(32).collect())
    }
}

/// Programs that are there.
#[derive(Debug, Clone)]
pub struct System {
    /// What they are.
    pub record: Record,
    /// Whether they were fetched now.
    pub built: bool,
    /// Keeps them from being removed.
    pub held: Held,
}

impl System {
    /// As a run has them.
    #[must_use]
    pub fn image(&self) -> Image {
        Image { key: self.record.key.clone(), tree: self.record.tree }
    }

    /// What a run says of them.
    #[must_use]
    pub fn described(&self) -> String {
        let key = self.record.key.get(..12).unwrap_or_default();
        let named = match self.record.packages.is_empty() {
            true => "none, the machine has them all".to_owned(),
            false => self.record.some_packages(),
        };
        format!(
            "steps find the programs {key} of {} (tree {}): {named}",
            self.record.version, self.record.tree
        )
    }

    /// Where a program of this name is, in every sandbox that has them.
    #[must_use]
    pub fn program(&self, name: &str, images: &Images) -> Option<std::path::PathBuf> {
        let folder = images.program(&self.record, &FOLDERS, name)?;
        Some(Path::new("/").join(folder).join(name))
    }
}

impl Programs {
    /// Of these packages, as they are written.
    ///
    /// # Errors
    /// The first that is none, and why.
    pub fn of(packages: &[String], hosts: Vec<String>, disk: Bytes) -> Result<Programs, (String, NotNamed)> {
        let named = packages.iter().map(|text| text.parse().map_err(|why| (text.clone(), why)));
        let mut packages = named.collect::<Result<Vec<Named>, _>>()?;
        packages.sort();
        packages.dedup();
        Ok(Programs { packages, hosts, disk })
    }

    /// What names them, for people.
    #[must_use]
    pub fn named(&self) -> String {
        match self.packages.as_slice() {
            [first, rest @ ..] if !rest.is_empty() => format!("{} and {} more", first.name(), rest.len()),
            [only] => only.to_string(),
            _ => String::new(),
        }
    }

    /// Those that the machine does not have.
    ///
    /// # Errors
    /// That it has one in another version than is asked for: its own stays.
    pub(super) fn missing(&self, machine: &Machine) -> Result<Vec<Named>, ImageError> {
        let mut missing = Vec::new();
        let mut others = Vec::new();
        for package in &self.packages {
            match machine.versions.get(package.name()) {
                None => missing.push(package.clone()),
                Some(version) if package.accepts(version) => {}
                Some(version) => others.push(format!("{package} (this machine has {version})")),
            }
        }
        match others.is_empty() {
            true => Ok(missing),
            false => Err(ImageError::Replaces { what: self.named(), packages: others }),
        }
    }

    /// Whether all that was missing was found.
    pub(super) fn check(&self, missing: &[Named], found: &Found) -> Result<(), ImageError> {
        let is_there = |package: &&Named| {
            found.files.iter().any(|file| file.name == package.name() && package.accepts(&file.version))
        };
        match missing.iter().find(|package| !is_there(package)) {
            None => Ok(()),
            Some(package) => Err(ImageError::Unresolved {
                what: self.named(),
                why: format!("{package} was not among what was fetched"),
                said: String::new(),
            }),
        }
    }
}

impl Builder {
    /// Programs of the distribution, fetched first where they are not there.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn system(
        &self,
        wanted: &Programs,
        building: Building,
        told: &mpsc::Sender<Progress>,
    ) -> Result<System, ImageError> {
        let basis = tokio::task::spawn_blocking(Basis::read).await;
        let basis = basis.map_err(|e| ImageError::Broken(e.to_string()))??;
        let key = basis.key(wanted)?;
        if building != Building::Again
            && let Some((record, held)) = self.images.open(&key).await?
        {
            return Ok(System { record, built: false, held });
        }
        if building == Building::Never {
            return Err(ImageError::NotBuilt { what: wanted.named() });
        }
        let (record, held, built) = build::system(self, &key, wanted, &basis, building, told).await?;
        Ok(System { record, built, held })
    }
}

/// What programs of the distribution are called now; `None` where they cannot be had.
#[must_use]
pub fn known_system(wanted: &Programs) -> Option<String> {
    Basis::read().ok()?.key(wanted).ok()
}

#[cfg(test)]
mod tests;
