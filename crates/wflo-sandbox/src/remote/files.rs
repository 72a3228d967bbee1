//! Files on the way to a keeper and back: entries, each followed by what is in it.
//!
//! Both ends take an entry for what a hostile one says: names are checked, resolved below one folder
//! without following anything, and replaced, never written through. Only files, folders and links
//! travel; owners, setuid bits, devices and sockets do not, and the holes of a file stay holes.
//! **Architecture Invariant:** what comes back is bounded in number and bytes by who
//! takes it in, whatever the keeper says.

mod intake;
mod walk;

pub(crate) use intake::Intake;
pub(crate) use walk::{Outgoing, Stamps};

use crate::native::wire::{Reader, Writer};
use crate::workspace::RelPath;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// One thing that is, or is no longer, at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: RelPath,
    pub(crate) kind: EntryKind,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Nanoseconds since the epoch.
    pub(crate) modified: i64,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Folder,
    /// Its length; its bytes follow.
    File(u64),
    Link(Vec<u8>),
    Gone,
}

impl Entry {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.text(OsStr::from_bytes(self.path.as_bytes()));
        to.u32(self.mode);
        to.u64(self.modified.cast_unsigned());
        match &self.kind {
            EntryKind::Folder => to.u8(b'd'),
            EntryKind::File(length) => {
                to.u8(b'f');
                to.u64(*length);
            }
            EntryKind::Link(target) => {
                to.u8(b'l');
                to.text(OsStr::from_bytes(target));
            }
            EntryKind::Gone => to.u8(b'x'),
        }
        to.bytes
    }

    /// `None` for what is no entry, or names no place below.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Entry> {
        let from = &mut Reader::new(bytes);
        let path = RelPath::from_bytes(from.text()?.as_bytes()).ok()?;
        let (mode, modified) = (from.u32()? & 0o777, from.u64()?.cast_signed());
        let kind = match from.u8()? {
            b'd' => EntryKind::Folder,
            b'f' => EntryKind::File(from.u64()?),
            b'l' => EntryKind::Link(from.text().map(OsString::into_vec)?),
            b'x' => EntryKind::Gone,
            _ => return None,
        };
        Some(Entry { path, kind, mode, modified })
    }
}
