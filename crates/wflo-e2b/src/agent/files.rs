//! Folders: looked at, listed, made, moved, removed.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::entry::{Entry, WithEntry};
use super::place;
use crate::ask::DiskUse;
use crate::fault::{Fault, Kind};

/// How many entries are listed at once.
const LISTED: usize = 20_000;

/// Of `Stat`, `MakeDir` and `Remove`.
#[derive(Debug, Deserialize)]
pub(super) struct At {
    #[serde(default)]
    path: String,
}

/// Of `Move`.
#[derive(Debug, Deserialize)]
pub(super) struct Move {
    source: String,
    destination: String,
}

/// Of `ListDir`.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    #[serde(default)]
    path: String,
    #[serde(default)]
    depth: u32,
}

/// Its answer.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    entries: Vec<Entry>,
}

pub(super) fn stat(at: &At) -> Result<WithEntry, Fault> {
    Ok(WithEntry { entry: Entry::of(&place::absolute(&at.path)?)? })
}

pub(super) fn make_folder(at: &At) -> Result<WithEntry, Fault> {
    let path = place::absolute(&at.path)?;
    let shown = path.display();
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => {
            return Err(Fault::new(Kind::AlreadyExists, format!("the folder {shown} already exists")));
        }
        Ok(_) => return Err(Fault::invalid(format!("the path {shown} exists and is no folder"))),
        Err(_) => {}
    }
    fs::create_dir_all(&path)
        .map_err(|error| Fault::of_io(&format!("the folder {shown} cannot be made"), &error))?;
    Ok(WithEntry { entry: Entry::of(&path)? })
}

pub(super) fn rename(asked: &Move) -> Result<WithEntry, Fault> {
    let (from, to) = (place::absolute(&asked.source)?, place::absolute(&asked.destination)?);
    let what = format!("{} cannot be moved to {}", from.display(), to.display());
    // Of a source that is not there nothing is made.
    fs::symlink_metadata(&from).map_err(|error| Fault::of_io(&what, &error))?;
    parents(&to)?;
    fs::rename(&from, &to).map_err(|error| Fault::of_io(&what, &error))?;
    Ok(WithEntry { entry: Entry::of(&to)? })
}

/// Makes the folders that a file is to be in.
pub(super) fn parents(of: &Path) -> Result<(), Fault> {
    let Some(parent) = of.parent() else { return Ok(()) };
    fs::create_dir_all(parent)
        .map_err(|error| Fault::of_io(&format!("the folder {} cannot be made", parent.display()), &error))
}

/// What is not there is removed already.
pub(super) fn remove(at: &At) -> Result<(), Fault> {
    let path = place::absolute(&at.path)?;
    let done = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
        Ok(_) => fs::remove_file(&path),
    };
    done.map_err(|error| Fault::of_io(&format!("the path {} cannot be removed", path.display()), &error))
}

pub(super) fn list(asked: &List) -> Result<Listed, Fault> {
    let path = place::absolute(&asked.path)?;
    let found = fs::metadata(&path)
        .map_err(|error| Fault::of_io(&format!("the folder {} cannot be listed", path.display()), &error))?;
    if !found.is_dir() {
        return Err(Fault::invalid(format!("the path {} is no folder", path.display())));
    }
    let mut entries = Vec::new();
    below(&path, asked.depth.max(1), &mut entries)?;
    Ok(Listed { entries })
}

/// A folder's entries by name, each followed by its own; links are not followed.
fn below(folder: &Path, depth: u32, entries: &mut Vec<Entry>) -> Result<(), Fault> {
    let failed = |error| Fault::of_io(&format!("the folder {} cannot be listed", folder.display()), &error);
    let mut paths = Vec::new();
    for found in fs::read_dir(folder).map_err(failed)? {
        let found = found.map_err(failed)?;
        paths.push((found.path(), found.file_type().is_ok_and(|kind| kind.is_dir())));
        if entries.len() + paths.len() > LISTED {
            let why = format!("the folder holds more than {LISTED} entries: list a part of it");
            return Err(Fault::new(Kind::ResourceExhausted, why));
        }
    }
    paths.sort();
    for (path, is_folder) in paths {
        // What has gone meanwhile is not there to be listed.
        let Ok(entry) = Entry::of(&path) else { continue };
        entries.push(entry);
        if is_folder && depth > 1 {
            match below(&path, depth - 1, entries) {
                Err(fault) if matches!(fault.code, Kind::NotFound | Kind::PermissionDenied) => {}
                other => other?,
            }
        }
    }
    Ok(())
}

/// Of the file system that everything writable is in.
pub(super) fn disk() -> Result<DiskUse, Fault> {
    let found = rustix::fs::statvfs("/tmp")
        .map_err(|error| Fault::of_io("the disk cannot be looked at", &error.into()))?;
    let total = found.f_blocks.saturating_mul(found.f_frsize);
    Ok(DiskUse { used: total.saturating_sub(found.f_bfree.saturating_mul(found.f_frsize)), total })
}
