//! Hashes of files, and attributes of files and folders, that have not changed since they were last sealed.
//!
//! An entry counts only while size, times, inode and device are the same, and only when the file was
//! last changed well before the seal that recorded it: a change within one tick of the file
//! system's clock would otherwise go unseen. Losing the file costs time and nothing else.

use std::collections::HashMap;
use std::path::Path;

use super::super::attributes::Attributes;
use super::super::manifest::Digest;
use super::super::path::RelPath;
use super::super::store::blob::Nanos;
use super::super::store::kept;
use super::super::survey::Seen;

const MAGIC: &[u8] = b"wflo hashes 2\n\0\0";

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    mtime: Nanos,
    ctime: Nanos,
    inode: u64,
    device: u64,
}

impl Stamp {
    fn of(seen: &Seen) -> Stamp {
        let Seen { size, mtime, ctime, inode, device, .. } = *seen;
        Stamp { size, mtime, ctime, inode, device }
    }
}

/// What was known before a seal, and what it learned.
#[derive(Default)]
pub(super) struct Cache {
    taken_at: Nanos,
    known: HashMap<RelPath, (Stamp, Known)>,
    learned: Vec<(RelPath, Stamp, Known)>,
    changed: bool,
}

/// What reading gave. A folder has no content: its hash is that of nothing.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) hash: Digest,
    pub(super) attributes: Attributes,
}

impl Cache {
    /// Reads the file; empty when it is not there or not whole.
    pub(super) fn read(path: &Path) -> Cache {
        kept::read(path).and_then(|bytes| decode(&bytes)).unwrap_or_default()
    }

    /// What is known of a file or folder that has not changed: who gives it another attribute changes it.
    pub(super) fn known(&self, seen: &Seen) -> Option<&Known> {
        let (stamp, known) = self.known.get(&seen.path)?;
        let settled = seen.mtime.max(seen.ctime).saturating_add(kept::SETTLED) < self.taken_at;
        (settled && *stamp == Stamp::of(seen)).then_some(known)
    }

    /// Notes what was found for the next seal.
    pub(super) fn learn(&mut self, seen: &Seen, found: Known) {
        self.changed |= self.known(seen) != Some(&found);
        self.learned.push((seen.path.clone(), Stamp::of(seen), found));
    }

    /// Replaces the file when something differs. A failure only costs time later.
    pub(super) fn write(self, path: &Path, now: Nanos) {
        if !self.changed && self.learned.len() == self.known.len() {
            return;
        }
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&now.to_be_bytes());
        for (path, stamp, known) in &self.learned {
            out.extend_from_slice(&u32::try_from(path.as_bytes().len()).unwrap_or(0).to_be_bytes());
            out.extend_from_slice(path.as_bytes());
            for number in [stamp.size, stamp.inode, stamp.device] {
                out.extend_from_slice(&number.to_be_bytes());
            }
            for time in [stamp.mtime, stamp.ctime] {
                out.extend_from_slice(&time.to_be_bytes());
            }
            out.extend_from_slice(known.hash.as_bytes());
            known.attributes.encode(&mut out);
        }
        if let Err(error) = kept::write(path, out) {
            tracing::debug!(%error, "the hash cache could not be written");
        }
    }
}

fn decode(bytes: &[u8]) -> Option<Cache> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let taken_at = Nanos::from_be_bytes(take(&mut rest)?);
    let mut known = HashMap::with_capacity(rest.len() / 100);
    while !rest.is_empty() {
        let length = usize::try_from(u32::from_be_bytes(take(&mut rest)?)).ok()?;
        let (path, tail) = rest.split_at_checked(length)?;
        rest = tail;
        let mut number = || take(&mut rest).map(u64::from_be_bytes);
        let (size, inode, device) = (number()?, number()?, number()?);
        let (mtime, ctime) = (number()?.cast_signed(), number()?.cast_signed());
        let hash = Digest::from(take::<32>(&mut rest)?);
        let attributes = Attributes::decode(&mut rest)?;
        let stamp = Stamp { size, mtime, ctime, inode, device };
        known.insert(RelPath::from_bytes(path).ok()?, (stamp, Known { hash, attributes }));
    }
    Some(Cache { taken_at, known, learned: Vec::new(), changed: false })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}
