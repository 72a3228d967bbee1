//! A project and a store in temporary folders, and looking at trees as plain data.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use wflo_sandbox::workspace::{Hidden, HideRules, RelPath, Sealed, Store, View, seal};

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
        let rules = HideRules { data_dir: Some(self.path().join(".wflo")), ..HideRules::default() };
        Hidden::new(&self.path(), &rules).unwrap()
    }

    pub fn seal(&self) -> Sealed {
        seal(&self.path(), &self.hidden(), &self.store).unwrap()
    }

    pub fn view(&self) -> View {
        View { sealed: self.seal(), layers: Vec::new(), undone: Vec::new() }
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
    Dir(u32),
    File(u32, Vec<u8>),
    Link(Vec<u8>),
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
            Node::Dir(mode)
        } else if meta.is_symlink() {
            Node::Link(fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
        } else if meta.is_file() {
            Node::File(mode, fs::read(&path).unwrap())
        } else {
            panic!("{} is special: {:o}", path.display(), meta.mode());
        };
        found.insert(path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(), node);
    }
}

/// The contents of a view, as data, read from where the mounts would read them.
pub fn contents(view: &View) -> BTreeMap<Vec<u8>, (u32, String)> {
    let entries = view.contents().entries;
    entries
        .iter()
        .map(|(path, entry)| (path.as_bytes().to_vec(), (entry.mode, format!("{:?}", entry.kind))))
        .collect()
}

/// The same form for a tree of files.
pub fn described(tree: &BTreeMap<Vec<u8>, Node>) -> BTreeMap<Vec<u8>, (u32, String)> {
    use wflo_sandbox::workspace::{Digest, Kind, Target};
    let describe = |node: &Node| match node {
        Node::Dir(mode) => (*mode, format!("{:?}", Kind::Dir { opaque: false })),
        Node::File(mode, content) => {
            (*mode, format!("{:?}", Kind::File { size: content.len() as u64, hash: Digest::of(content) }))
        }
        Node::Link(target) => (0, format!("{:?}", Kind::Symlink { target: Target(target.clone()) })),
    };
    tree.iter().map(|(path, node)| (path.clone(), describe(node))).collect()
}
