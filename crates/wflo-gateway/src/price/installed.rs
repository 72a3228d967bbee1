//! A newer price map than the compiled one, kept in the data directory.
//!
//! Owns its file and its check: a map is read whole before it takes the place of another, and the file is
//! replaced by a rename, so that a crash leaves the old map or the new one. Nothing is installed that does
//! not price nearly as many models as the compiled map: half a map would refuse half of the models.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use wflo_core::error::{Code, Coded};

use super::freed::freed;
use super::map::{self, MapError};
use super::table;

/// Twenty times the largest map that was seen, in bytes.
const LARGEST: u64 = 64 << 20;

/// The file under the data directory.
const FILE: &str = "prices/model_prices.json";

/// What is said of the map in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// BLAKE3 of the map, in hex.
    pub hash: &'static str,
    /// BLAKE3 of the compiled map, in hex.
    pub compiled_hash: &'static str,
    /// Where the compiled map is from.
    pub source: &'static str,
    /// When the compiled map was taken from there.
    pub date: &'static str,
    /// Its licence.
    pub licence: &'static str,
    /// Priced models of the map in use.
    pub models: usize,
}

/// The map in use.
pub fn about() -> About {
    About {
        hash: table::map_hash(),
        compiled_hash: table::compiled_hash(),
        source: "litellm 1.109.1 (PyPI), model_prices_and_context_window_backup.json",
        date: "2026-11-29",
        licence: "MIT",
        models: table::known_models().count(),
    }
}

/// A map that could not be installed, or an installed one that could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// It cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What failed.
        error: std::io::Error,
    },
    /// It is no price map.
    #[error("{} is no price map: {error}", path.display())]
    Map {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        error: MapError,
        /// It is the one that is installed.
        installed: bool,
    },
    /// It would make models free that are not.
    #[error("{} makes free what costs something now: {}", path.display(), named(models))]
    Frees {
        /// Which file.
        path: PathBuf,
        /// The models.
        models: Vec<String>,
    },
}

/// The first of some names, and how many there are besides.
fn named(models: &[String]) -> String {
    const SHOWN: usize = 8;
    let first = models.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match models.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

impl Coded for InstallError {
    fn code(&self) -> Code {
        Code(match self {
            InstallError::File { .. } => 4040,
            InstallError::Map { .. } => 4041,
            InstallError::Frees { .. } => 4121,
        })
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            InstallError::File { .. } => "Check that the file is there and that you may read and write it.".to_owned(),
            InstallError::Map { installed: true, .. } => {
                "Run `wflo costs update --reset` to use the prices that wflo was built with, or install a whole map."
                    .to_owned()
            }
            InstallError::Frees { .. } => {
                "Look at what the file says of them: budgets do not stop a model that costs nothing. If they are free, add --accept-free. The prices in use are unchanged."
                    .to_owned()
            }
            InstallError::Map { .. } => {
                "Give it `model_prices_and_context_window.json` of LiteLLM, whole. The prices in use are unchanged."
                    .to_owned()
            }
        })
    }
}

/// A file's bytes, unless it is no file, or larger than any map.
fn bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let wrong = |why: &str| std::io::Error::new(std::io::ErrorKind::InvalidInput, why.to_owned());
    if !std::fs::metadata(path)?.is_file() {
        return Err(wrong("it is no file"));
    }
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut text)?;
    match text.len() as u64 > LARGEST {
        true => Err(wrong("it is larger than any price map (64 MiB)")),
        false => Ok(text),
    }
}

fn read(path: &Path, installed: bool) -> Result<(Vec<u8>, Vec<map::Entry>), InstallError> {
    let text = bytes(path).map_err(|error| InstallError::File { path: path.to_owned(), error })?;
    let refuse = |error| InstallError::Map { path: path.to_owned(), error, installed };
    let entries = map::read(&text).map_err(refuse)?;
    if entries.len() < table::compiled_count() / 2 {
        return Err(refuse(MapError::TooFew(entries.len())));
    }
    Ok((text, entries))
}

/// Uses the map that is installed in this data directory, if there is one.
///
/// # Errors
/// [`InstallError`] when it is damaged: prices that are not known to be right are not used.
pub fn load(data_dir: &Path) -> Result<(), InstallError> {
    let path = data_dir.join(FILE);
    if !path.exists() {
        return Ok(());
    }
    let (text, entries) = read(&path, true)?;
    table::replace(entries, blake3::hash(&text).to_hex().to_string());
    Ok(())
}

/// Installs a map into the data directory and uses it from now on. What it makes free of what the map in use
/// prices must be wanted.
///
/// # Errors
/// [`InstallError`]; nothing has changed then.
pub fn install(data_dir: &Path, file: &Path, accept_free: bool) -> Result<(), InstallError> {
    let (text, entries) = read(file, false)?;
    let models = freed(&entries);
    if !accept_free && !models.is_empty() {
        return Err(InstallError::Frees { path: file.to_owned(), models });
    }
    let path = data_dir.join(FILE);
    let failed = |error| InstallError::File { path: path.clone(), error };
    let folder = path.parent().unwrap_or(data_dir);
    std::fs::create_dir_all(folder).map_err(failed)?;
    let beside = folder.join(format!("model_prices.{}.tmp", std::process::id()));
    let written = (|| {
        // Whatever has that name is not written to: it may be a link that was brought along.
        let _ = std::fs::remove_file(&beside);
        let mut new = std::fs::File::create_new(&beside)?;
        new.write_all(&text)?;
        new.sync_all()?;
        std::fs::rename(&beside, &path)?;
        std::fs::File::open(folder)?.sync_all()
    })();
    if let Err(error) = written {
        // What is left of it is in nobody's way.
        let _ = std::fs::remove_file(&beside);
        return Err(failed(error));
    }
    table::replace(entries, blake3::hash(&text).to_hex().to_string());
    Ok(())
}

/// Goes back to the compiled map: whether there was another.
///
/// # Errors
/// [`InstallError::File`].
pub fn reset(data_dir: &Path) -> Result<bool, InstallError> {
    let path = data_dir.join(FILE);
    match std::fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(InstallError::File { path, error }),
    }
    table::restore();
    Ok(true)
}
