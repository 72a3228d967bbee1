//! A project and a store in temporary folders, and looking at trees as plain data.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use wflo_sandbox::workspace::{Attributes, Hidden, HideRules, RelPath, Sealed, Store, View, seal};

pub struct Project {
    pub home: tempfile::TempDir,
    pub store: Store,
}

impl Project {
    pub fn new() -> Project {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("project")).unwrap();
        let store = Store::open(home.path().join("state")).unwrap();
        Project { home, store }
    }

    pub fn path(&self) -> PathBuf {
        self.home.path().join("project")
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        write(&self.path().join(path), content);
    }

    pub fn hidden(&self) -> Hidden {
        let rules = HideRules::new(&self.path().join(".wflo"), &self.path().join(".wflo/wflo.db"));
        Hidden::new(&self.path(), &rules).unwrap()
    }

    pub fn seal(&self) -> Sealed {
        seal(&self.path(), &self.hidden(), &self.store).unwrap()
    }

    pub fn view(&self) -> View {
        View { sealed: self.seal(), layers: Vec::new(), undone: Vec::new(), earlier: None }
    }
}

pub fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub fn rel(text: &str) -> RelPath {
    text.parse().unwrap()
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Dir(u32, Attributes),
    File(u32, Vec<u8>, Attributes),
    Link(Vec<u8>),
}

/// The attributes of a file or folder that belong to users, an overlay's own notes included; none where the file
/// system has none.
pub fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, list.as_mut_slice()).unwrap_or(0);
    let names = list[..length].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user."));
    let value = |name: &[u8]| {
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).unwrap();
        value[..length].to_vec()
    };
    names.map(|name| (name.to_vec(), value(name))).collect()
}

/// Sets one; what the file system refuses is not there.
pub fn set_attribute(path: &Path, name: &[u8], value: &[u8]) -> std::io::Result<()> {
    Ok(rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty())?)
}

/// Those that a tree keeps.
fn kept(path: &Path) -> Attributes {
    let mut all = attributes(path);
    all.retain(|name, _| !name.starts_with(b"user.overlay."));
    Attributes::new(all).unwrap()
}

/// Everything in a folder, as data.
pub fn tree(folder: &Path) -> BTreeMap<Vec<u8>, Node> {
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

fn walk(root: &Path, at: &Path, found: &mut BTreeMap<Vec<u8>, Node>) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        let mode = meta.permissions().mode() & 0o777;
        let node = if meta.is_dir() {
            walk(root, &path, found);
            Node::Dir(mode, kept(&path))
        } else if meta.is_symlink() {
            Node::Link(fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
        } else if meta.is_file() {
            Node::File(mode, fs::read(&path).unwrap(), kept(&path))
        } else {
            panic!("{} is special: {:o}", path.display(), meta.mode());
        };
        found.insert(path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(), node);
    }
}

/// The contents of a view, as data, read from where the mounts would read them.
pub fn contents(view: &View) -> BTreeMap<Vec<u8>, (u32, String, Attributes)> {
    let entries = view.contents().entries;
    entries
        .iter()
        .map(|(path, entry)| {
            let what = (entry.mode, format!("{:?}", entry.kind), entry.attributes.clone());
            (path.as_bytes().to_vec(), what)
        })
        .collect()
}

/// The same form for a tree of files.
pub fn described(tree: &BTreeMap<Vec<u8>, Node>) -> BTreeMap<Vec<u8>, (u32, String, Attributes)> {
    use wflo_sandbox::workspace::{Digest, Kind, Target};
    let describe = |node: &Node| match node {
        Node::Dir(mode, has) => (*mode, format!("{:?}", Kind::Dir { opaque: false }), has.clone()),
        Node::File(mode, content, has) => {
            let kind = Kind::File { size: content.len() as u64, hash: Digest::of(content) };
            (*mode, format!("{kind:?}"), has.clone())
        }
        Node::Link(target) => {
            let kind = Kind::Symlink { target: Target(target.clone()) };
            (0, format!("{kind:?}"), Attributes::default())
        }
    };
    tree.iter().map(|(path, node)| (path.clone(), describe(node))).collect()
}
