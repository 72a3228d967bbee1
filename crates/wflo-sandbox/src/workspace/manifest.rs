//! What a tree holds: one entry a path, and a digest over all of them.
//!
//! The canonical form is a sorted list with length prefixes; it is also what is stored, so a stored
//! manifest proves itself by its name. Times and owners are left out on purpose: the same files
//! give the same digest on every machine.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::attributes::Attributes;
use super::path::RelPath;

const MAGIC: &[u8] = b"wflo manifest 1\n";

/// A BLAKE3 digest, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of a file to its end, however long it is; a piece of it is in memory at a time.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_file(file: &std::fs::File) -> std::io::Result<Self> {
        super::store::blob::hash_file(file, u64::MAX).map(|(digest, _)| digest)
    }

    /// The raw 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Digest(*hash.as_bytes())
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Digest(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        blake3::Hash::from_hex(text).map(Digest::from)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Kind {
    /// A folder. `opaque` (layers only): nothing below it shows through from lower trees.
    Dir {
        /// Hides the folder's content in the trees below.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        opaque: bool,
    },
    /// A regular file.
    File {
        /// In bytes.
        size: u64,
        /// Of its content.
        hash: Digest,
    },
    /// A symbolic link, never followed.
    Symlink {
        /// Its target, as written.
        target: Target,
    },
    /// Layers only: what stands here in the trees below is gone.
    Whiteout,
}

/// The target of a symbolic link: bytes, shown escaped.
#[derive(Clone, PartialEq, Eq)]
pub struct Target(pub Vec<u8>);

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::path::escape(&self.0))
    }
}

/// As text, with `\xNN` for every byte that is not plain.
impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::path::escape(&self.0))
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::path::unescape(&text).map(Target).ok_or_else(|| serde::de::Error::custom("a bad escape"))
    }
}

/// One path of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, `0o777` at most; 0 for links and whiteouts.
    pub mode: u32,
    /// Extended attributes of a file or folder (`user.`).
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
}

impl Entry {
    /// Something without attributes.
    #[must_use]
    pub fn plain(kind: Kind, mode: u32) -> Self {
        Entry { kind, mode, attributes: Attributes::default() }
    }

    /// The same with these attributes.
    #[must_use]
    pub fn with(self, attributes: Attributes) -> Self {
        Entry { attributes, ..self }
    }

    /// The same as it is where there are no attributes.
    #[must_use]
    pub fn without_attributes(self) -> Self {
        self.with(Attributes::default())
    }

    /// A folder.
    #[must_use]
    pub fn dir(mode: u32) -> Self {
        Entry::plain(Kind::Dir { opaque: false }, mode & 0o777)
    }

    /// A regular file.
    #[must_use]
    pub fn file(mode: u32, size: u64, hash: Digest) -> Self {
        Entry::plain(Kind::File { size, hash }, mode & 0o777)
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(target: Vec<u8>) -> Self {
        Entry::plain(Kind::Symlink { target: Target(target) }, 0)
    }

    /// A removal.
    #[must_use]
    pub fn whiteout() -> Self {
        Entry::plain(Kind::Whiteout, 0)
    }

    /// Whether it is a folder.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir { .. })
    }

    /// Whether both have the same kind and content, whatever their modes and attributes.
    #[must_use]
    pub fn same_content(&self, other: &Entry) -> bool {
        self.kind == other.kind || (self.is_dir() && other.is_dir())
    }
}

/// Every path of a tree, sorted by its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// The entries.
    pub entries: BTreeMap<RelPath, Entry>,
    /// Files with several names in this tree: each of the names, with the first of them.
    pub links: BTreeMap<RelPath, RelPath>,
}

impl Manifest {
    /// Notes which names are one file: those of each group that are the same file by their entries, too.
    pub(crate) fn link(&mut self, groups: impl IntoIterator<Item = Vec<RelPath>>) {
        for mut names in groups {
            names.sort_unstable();
            let Some(first) = names.first().cloned() else { continue };
            let Some(entry) = self.entries.get(&first).cloned() else { continue };
            names.retain(|name| self.entries.get(name) == Some(&entry));
            if names.len() > 1 {
                self.links.extend(names.into_iter().map(|name| (name, first.clone())));
            }
        }
    }

    /// The digest of the canonical form.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }

    /// The sum of its files' sizes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.entries
            .values()
            .map(|entry| if let Kind::File { size, .. } = entry.kind { size } else { 0 })
            .sum()
    }

    /// The canonical form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MAGIC.len() + self.entries.len() * 96);
        out.extend_from_slice(MAGIC);
        for (path, entry) in &self.entries {
            put_bytes(&mut out, path.as_bytes());
            out.extend_from_slice(&entry.mode.to_be_bytes());
            match &entry.kind {
                Kind::Dir { opaque } => out.push(if *opaque { b'o' } else { b'd' }),
                Kind::File { size, hash } => {
                    out.push(b'f');
                    out.extend_from_slice(&size.to_be_bytes());
                    out.extend_from_slice(hash.as_bytes());
                }
                Kind::Symlink { target } => {
                    out.push(b'l');
                    put_bytes(&mut out, &target.0);
                }
                Kind::Whiteout => out.push(b'w'),
            }
        }
        // Behind all entries, and only where there are any: a tree without them is written as it ever was.
        for (path, entry) in self.entries.iter().filter(|(_, entry)| !entry.attributes.is_empty()) {
            put_bytes(&mut out, path.as_bytes());
            out.extend_from_slice(&0_u32.to_be_bytes());
            out.push(b'x');
            entry.attributes.encode(&mut out);
        }
        for (path, first) in &self.links {
            put_bytes(&mut out, path.as_bytes());
            out.extend_from_slice(&0_u32.to_be_bytes());
            out.push(b'h');
            put_bytes(&mut out, first.as_bytes());
        }
        out
    }

    /// Reads the canonical form; `None` when it is not one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Manifest> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut manifest = Manifest::default();
        while !rest.is_empty() {
            let path = RelPath::from_bytes(take_bytes(&mut rest)?).ok()?;
            let mode = u32::from_be_bytes(take(&mut rest)?);
            let [tag] = take::<1>(&mut rest)?;
            let kind = match tag {
                b'd' | b'o' => Kind::Dir { opaque: tag == b'o' },
                b'f' => {
                    let size = u64::from_be_bytes(take(&mut rest)?);
                    Kind::File { size, hash: Digest(take(&mut rest)?) }
                }
                b'l' => Kind::Symlink { target: Target(take_bytes(&mut rest)?.to_vec()) },
                b'w' => Kind::Whiteout,
                b'x' => {
                    let attributes = Attributes::decode(&mut rest)?;
                    let entry = manifest.entries.get_mut(&path)?;
                    let has = matches!(entry.kind, Kind::Dir { .. } | Kind::File { .. });
                    if !has || attributes.is_empty() || !entry.attributes.is_empty() {
                        return None;
                    }
                    entry.attributes = attributes;
                    continue;
                }
                b'h' => {
                    let first = RelPath::from_bytes(take_bytes(&mut rest)?).ok()?;
                    manifest.links.insert(path, first);
                    continue;
                }
                _ => return None,
            };
            manifest.entries.insert(path, Entry::plain(kind, mode));
        }
        Some(manifest)
    }
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // A path is at most some thousand bytes long; the length fits by far.
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

pub(super) fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u32::from_be_bytes(take(rest)?)).ok()?;
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::super::attributes::tests::set;
    use super::*;

    /// Nobody who can write a manifest gets an overlay's note mounted by that.
    #[test]
    fn attributes_that_no_tree_keeps_make_no_manifest() {
        let mut manifest = Manifest::default();
        let path: RelPath = "f".parse().unwrap();
        let entry = Entry::file(0o644, 3, Digest::of(b"abc")).with(set(&[("user.overlax.opaque", "y")]));
        manifest.entries.insert(path, entry);
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes), Some(manifest));
        let at = bytes.windows(7).position(|part| part == b"overlax").unwrap();
        let mut note = bytes.clone();
        note[at + 6] = b'y';
        assert_eq!(Manifest::decode(&note), None);
        // Twice for one path.
        let twice = [bytes.as_slice(), &bytes[at - 23..]].concat();
        assert_eq!(Manifest::decode(&twice), None);
    }

    #[test]
    fn a_tree_without_attributes_is_written_as_before_there_were_any() {
        let mut manifest = Manifest::default();
        manifest.entries.insert("a".parse().unwrap(), Entry::dir(0o755));
        assert_eq!(manifest.encode(), b"wflo manifest 1\n\0\0\0\x01a\0\0\x01\xedd");
    }

    #[test]
    fn canonical_form_reads_back_and_refuses_garbage() {
        let mut manifest = Manifest::default();
        let path = |text: &str| text.parse::<RelPath>().unwrap();
        manifest.entries.insert(path("a"), Entry::dir(0o755));
        manifest.entries.insert(path("a/f"), Entry::file(0o4644, 3, Digest::of(b"abc")));
        manifest.entries.insert(path("l"), Entry::symlink(b"\xff/..".to_vec()));
        manifest.entries.insert(path("w"), Entry::whiteout());
        manifest.entries.insert(path("b"), Entry::file(0o644, 3, Digest::of(b"abc")));
        manifest.entries.insert(path("c"), Entry::file(0o644, 3, Digest::of(b"abd")));
        manifest.link([vec![path("b"), path("a/f"), path("c")], vec![path("c"), path("gone")]]);
        let tagged = set(&[("user.a", "1"), ("user.tag", "\n")]);
        for name in ["a", "c"] {
            let entry = manifest.entries.get_mut(&path(name)).unwrap();
            entry.attributes = tagged.clone();
        }
        assert_eq!(manifest.links, [(path("a/f"), path("a/f")), (path("b"), path("a/f"))].into());
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
        assert_eq!(manifest.entries[&path("a/f")].mode, 0o644, "setuid is dropped");
        for end in 0..bytes.len() {
            let cut = Manifest::decode(&bytes[..end]);
            assert!(cut.is_none_or(|cut| cut != manifest), "cut at {end}");
        }
    }
}
