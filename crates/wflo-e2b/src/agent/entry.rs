//! What is told of a file or folder.

use std::collections::BTreeMap;
use std::fs::{FileType, Metadata};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde::Serialize;

use crate::fault::Fault;

/// What the names of a file's own metadata begin with among its extended attributes.
pub(super) const METADATA: &str = "user.e2b.";
/// The longest list of names, and the longest value, in bytes, that the kernel gives.
const ATTRIBUTES: usize = 64 << 10;

/// `filesystem.EntryInfo`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    name: String,
    r#type: &'static str,
    path: String,
    /// 64-bit numbers are texts in Protobuf's JSON.
    size: String,
    mode: u32,
    permissions: String,
    owner: String,
    group: String,
    modified_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    symlink_target: Option<String>,
    is_symlink: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

/// An answer that holds one.
#[derive(Debug, Serialize)]
pub(super) struct WithEntry {
    pub(super) entry: Entry,
}

impl Entry {
    /// What is at `path`, a link itself and not what it leads to.
    ///
    /// # Errors
    /// When nothing is there.
    pub(super) fn of(path: &Path) -> Result<Entry, Fault> {
        let shown = path.display();
        let found = std::fs::symlink_metadata(path)
            .map_err(|error| Fault::of_io(&format!("the path {shown} cannot be looked at"), &error))?;
        let is_symlink = found.file_type().is_symlink();
        let meant = if is_symlink { std::fs::metadata(path).ok() } else { None };
        let target = if is_symlink { std::fs::read_link(path).ok() } else { None };
        let kind = if is_symlink { meant.as_ref().map(Metadata::file_type) } else { Some(found.file_type()) };
        let modified = found.modified().ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
        Ok(Entry {
            name: name(path),
            r#type: kind.map_or("FILE_TYPE_UNSPECIFIED", type_of),
            path: shown.to_string(),
            size: found.len().to_string(),
            mode: found.permissions().mode() & 0o777,
            permissions: permissions(&found),
            owner: user(found.uid()),
            group: user(found.gid()),
            modified_time: modified.unwrap_or_default().to_string(),
            symlink_target: target.map(|target| target.display().to_string()),
            is_symlink,
            metadata: if is_symlink { BTreeMap::new() } else { metadata(path) },
        })
    }
}

/// The last part of a path.
pub(super) fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| "/".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn type_of(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "FILE_TYPE_DIRECTORY"
    } else if kind.is_file() {
        "FILE_TYPE_FILE"
    } else {
        "FILE_TYPE_UNSPECIFIED"
    }
}

/// As `ls` writes them, with a letter for the kind.
fn permissions(found: &Metadata) -> String {
    let kind = found.file_type();
    let first = if kind.is_dir() {
        'd'
    } else if kind.is_symlink() {
        'L'
    } else {
        '-'
    };
    let mode = found.permissions().mode();
    let bits = "rwxrwxrwx".chars().enumerate();
    let bits = bits.map(|(index, letter)| if mode & (0o400 >> index) == 0 { '-' } else { letter });
    std::iter::once(first).chain(bits).collect()
}

/// There is one user; everything else belongs to the machine.
fn user(id: u32) -> String {
    if id == rustix::process::getuid().as_raw() || id == rustix::process::getgid().as_raw() {
        std::env::var("USER").unwrap_or_else(|_| id.to_string())
    } else if id == 0 {
        "root".to_owned()
    } else {
        id.to_string()
    }
}

/// What a client has stored with the file. A file system without extended attributes has none.
fn metadata(path: &Path) -> BTreeMap<String, String> {
    let mut names = vec![0; ATTRIBUTES];
    let Ok(length) = rustix::fs::listxattr(path, names.as_mut_slice()) else { return BTreeMap::new() };
    let names = names.get(..length).unwrap_or_default();
    let own = names.split(|byte| *byte == 0).filter_map(|name| {
        let name = std::str::from_utf8(name).ok()?;
        let key = name.strip_prefix(METADATA)?;
        let mut value = vec![0; ATTRIBUTES];
        let length = rustix::fs::getxattr(path, name, value.as_mut_slice()).ok()?;
        value.truncate(length);
        Some((key.to_owned(), String::from_utf8(value).ok()?))
    });
    own.collect()
}
