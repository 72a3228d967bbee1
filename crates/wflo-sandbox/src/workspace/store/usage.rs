//! How much disk space stored files take, and how much comes back without some of them.
//!
//! A content is linked into every tree that holds it, so what a run's files take is not a sum: each
//! content counts once, and comes back with the last tree that links to it. Sizes are those on the disk:
//! a hole takes nothing.

use std::collections::HashMap;

use rustix::fs::FileType;

use super::super::beneath;
use super::super::error::{IoAt, WorkspaceError};
use super::super::manifest::{Digest, Kind};
use super::super::seal::Record;
use super::Store;

/// The disk space of the trees that somebody needs.
#[derive(Debug)]
pub struct Usage<'a> {
    store: &'a Store,
    trees: HashMap<Digest, Tree>,
    /// By inode: what it takes, and how many links of needed trees it has.
    contents: HashMap<u64, (u64, u64)>,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Tree {
    /// How often it is needed.
    needed: u64,
    /// The inodes of its files, and the bytes on the disk.
    files: Vec<(u64, u64)>,
}

impl Store {
    /// Begins to count. Nothing is needed yet.
    #[must_use]
    pub fn usage(&self) -> Usage<'_> {
        Usage { store: self, trees: HashMap::new(), contents: HashMap::new(), bytes: 0 }
    }

    /// The trees behind a seal or a layer; nothing for one that is gone.
    fn behind(&self, id: &Digest) -> Result<Vec<Digest>, WorkspaceError> {
        match Record::read(self, id) {
            Ok(record) => Ok(vec![record.tree, record.rest]),
            Err(WorkspaceError::Missing { .. }) => Ok(vec![*id]),
            Err(error) => Err(error),
        }
    }

    /// The files of a tree; none when it is gone.
    fn files(&self, tree: &Digest) -> Result<Vec<(u64, u64)>, WorkspaceError> {
        let manifest = match self.manifest(tree) {
            Err(WorkspaceError::Missing { .. }) => return Ok(Vec::new()),
            other => other?,
        };
        let folder = self.tree(tree);
        let root = match beneath::open_root(&folder) {
            // Collected at this moment.
            Err(error) if beneath::is_absent(&error) => return Ok(Vec::new()),
            other => other.at("open", &folder)?,
        };
        let files = manifest.entries.iter().filter(|(_, entry)| matches!(entry.kind, Kind::File { .. }));
        let mut found = Vec::new();
        for (path, _) in files {
            let looked = beneath::look(&root, path.as_bytes()).at("read", &folder.join(path.as_path()))?;
            if let Some((_, stat)) =
                looked.filter(|(_, stat)| FileType::from_raw_mode(stat.st_mode).is_file())
            {
                found.push((stat.st_ino, u64::try_from(stat.st_blocks).unwrap_or(0) * 512));
            }
        }
        Ok(found)
    }
}

impl Usage<'_> {
    /// Adds seals and layers that somebody needs.
    ///
    /// # Errors
    /// [`WorkspaceError::Damaged`] and [`WorkspaceError::Io`]; what is gone counts nothing.
    pub fn add(&mut self, needed: &[Digest]) -> Result<(), WorkspaceError> {
        for id in needed {
            for tree in self.store.behind(id)? {
                self.add_tree(tree)?;
            }
        }
        Ok(())
    }

    fn add_tree(&mut self, id: Digest) -> Result<(), WorkspaceError> {
        if !self.trees.contains_key(&id) {
            self.trees.insert(id, Tree { needed: 0, files: self.store.files(&id)? });
        }
        let Some(tree) = self.trees.get_mut(&id) else { return Ok(()) };
        tree.needed += 1;
        if tree.needed == 1 {
            for (inode, bytes) in &tree.files {
                let (_, links) = self.contents.entry(*inode).or_insert((*bytes, 0));
                *links += 1;
                if *links == 1 {
                    self.bytes += bytes;
                }
            }
        }
        Ok(())
    }

    /// Takes back what was added; gives the bytes that nobody needs any more.
    ///
    /// # Errors
    /// As [`Usage::add`].
    pub fn remove(&mut self, needed: &[Digest]) -> Result<u64, WorkspaceError> {
        let before = self.bytes;
        for id in needed {
            for tree in self.store.behind(id)? {
                self.remove_tree(&tree);
            }
        }
        Ok(before - self.bytes)
    }

    fn remove_tree(&mut self, id: &Digest) {
        let Some(tree) = self.trees.get_mut(id).filter(|tree| tree.needed > 0) else { return };
        tree.needed -= 1;
        if tree.needed > 0 {
            return;
        }
        for (inode, _) in &tree.files {
            if let Some((bytes, links)) = self.contents.get_mut(inode) {
                *links -= 1;
                if *links == 0 {
                    self.bytes -= *bytes;
                }
            }
        }
    }

    /// What everything that is needed takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
