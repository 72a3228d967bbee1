//! Extended attributes that belong to users (`user.`): what a file or folder has beside its content and mode.
//!
//! Those of other kinds (`security.`, `system.`, `trusted.`) say what a file may do, and are never read or written
//! here. An overlay keeps its own notes on an upper directory in `user.overlay.`, and what such a note says a program
//! inside could have written: those never enter a tree, nor leave one. A few hold addresses with whatever keys are
//! in them, as browsers note them; they stay where they are.
//!
//! Links have none, and none is read or set through one: every file is opened first.
//!
//! **Architecture Invariant:** a set that exists is within its bounds and holds no name but those above.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::manifest::{Digest, put_bytes, take, take_bytes};
use super::path::{escape, unescape};

/// So many one file or folder keeps.
pub const MOST_ATTRIBUTES: usize = 128;
/// Of so many bytes, names and values together.
pub const MOST_ATTRIBUTE_BYTES: usize = 64 << 10;
/// The most that a list of names, and a value, takes (`linux/limits.h`).
const MOST: usize = 64 << 10;
/// The longest name (`linux/limits.h`).
const LONGEST: usize = 255;
/// What a usual list of names takes.
const FEW: usize = 256;
const USERS: &[u8] = b"user.";
/// An overlay's own notes on its upper directory.
const OVERLAY: &[u8] = b"user.overlay.";
/// Where a file was fetched from, keys in the address included.
const ADDRESSES: [&[u8]; 2] = [b"user.xdg.origin.url", b"user.xdg.referrer.url"];

/// What a file or folder has: names, each with its value.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Attributes(BTreeMap<Vec<u8>, Vec<u8>>);

/// What was found at a file.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Empty when there are more than a tree keeps of one file.
    pub(crate) kept: Attributes,
    /// That there are.
    pub(crate) beyond: bool,
}

impl Attributes {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// One value.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// Names and values, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// A set of these; `None` beyond the bounds, or with a name that no tree keeps.
    #[must_use]
    pub fn new(all: BTreeMap<Vec<u8>, Vec<u8>>) -> Option<Attributes> {
        let all = Attributes(all);
        let fine = all.0.len() <= MOST_ATTRIBUTES
            && all.bytes() <= MOST_ATTRIBUTE_BYTES
            && all.0.keys().all(|name| is_kept(name));
        fine.then_some(all)
    }

    /// The canonical form: how many, then each with its length and its value's.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&u32::try_from(self.0.len()).unwrap_or(u32::MAX).to_be_bytes());
        for (name, value) in &self.0 {
            put_bytes(out, name);
            put_bytes(out, value);
        }
    }

    /// Reads it; `None` when it is not one.
    pub(super) fn decode(rest: &mut &[u8]) -> Option<Attributes> {
        let count = u32::from_be_bytes(take(rest)?);
        let mut all = BTreeMap::new();
        for _ in 0..count {
            let name = take_bytes(rest)?.to_vec();
            let later = all.last_key_value().is_none_or(|(last, _)| *last < name);
            if !later || all.len() >= MOST_ATTRIBUTES {
                return None;
            }
            all.insert(name, take_bytes(rest)?.to_vec());
        }
        Attributes::new(all)
    }

    /// Names the set.
    pub(super) fn digest(&self) -> Digest {
        let mut bytes = Vec::with_capacity(self.bytes());
        self.encode(&mut bytes);
        Digest::of(&bytes)
    }

    /// These, and of `below` what they have no word about.
    pub(super) fn over(&self, below: &Attributes) -> Attributes {
        let mut all = below.clone();
        all.0.extend(self.0.clone());
        Attributes::new(all.0).unwrap_or_else(|| self.clone())
    }

    /// One side of a merge, name by name: what `ours` changed of `base` in what `theirs` is by now. `None` where both
    /// changed one, and differently.
    pub(super) fn merged(base: &Attributes, theirs: &Attributes, ours: &Attributes) -> Option<Attributes> {
        let mut all = theirs.clone();
        for name in base.0.keys().chain(ours.0.keys()) {
            let [was, there, wanted] = [base, theirs, ours].map(|side| side.0.get(name));
            if wanted == was || wanted == there {
                continue;
            }
            if there != was {
                return None;
            }
            match wanted {
                Some(value) => all.0.insert(name.clone(), value.clone()),
                None => all.0.remove(name),
            };
        }
        // Each side is within the bounds; both together may not be, and then one has to be chosen.
        Attributes::new(all.0)
    }

    /// Whether each of these stands in `one` or `other` with this value, and each that both have is here: what is left
    /// when a change from one to the other was cut short.
    pub(super) fn is_between(&self, one: &Attributes, other: &Attributes) -> bool {
        let names = self.0.keys().chain(one.0.keys()).chain(other.0.keys());
        names.into_iter().all(|name| {
            let [now, from, to] = [self, one, other].map(|side| side.0.get(name));
            now == from || now == to
        })
    }
}

impl std::fmt::Debug for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, value)| (escape(name), escape(value)))).finish()
    }
}

/// As text, with `\xNN` for every byte that is not plain.
impl Serialize for Attributes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (escape(name), escape(value))))
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = BTreeMap::<String, String>::deserialize(deserializer)?;
        let read = all.iter().map(|(name, value)| Some((unescape(name)?, unescape(value)?)));
        let set = read.collect::<Option<BTreeMap<_, _>>>().and_then(Attributes::new);
        set.ok_or_else(|| serde::de::Error::custom("no attributes of a file"))
    }
}

fn is_users(name: &[u8]) -> bool {
    name.starts_with(USERS) && !name.starts_with(OVERLAY)
}

fn is_kept(name: &[u8]) -> bool {
    let long = name.len() > USERS.len() && name.len() <= LONGEST;
    is_users(name) && long && !name.contains(&0) && !ADDRESSES.contains(&name)
}

/// A file that is open, or one that is open by path only, which has to be asked by its magic link: that is the very
/// file.
enum At<'a> {
    Open(BorrowedFd<'a>),
    Path(String),
}

impl At<'_> {
    fn of(file: BorrowedFd<'_>) -> At<'_> {
        match rustix::fs::fcntl_getfl(file) {
            Ok(flags) if flags.contains(rustix::fs::OFlags::PATH) => {
                At::Path(format!("/proc/self/fd/{}", file.as_raw_fd()))
            }
            _ => At::Open(file),
        }
    }

    fn list(&self, into: &mut [u8]) -> Result<usize, Errno> {
        match self {
            At::Open(file) => rustix::fs::flistxattr(file, into),
            At::Path(path) => rustix::fs::listxattr(path.as_str(), into),
        }
    }

    fn get(&self, name: &[u8], into: &mut [u8]) -> Result<usize, Errno> {
        match self {
            At::Open(file) => rustix::fs::fgetxattr(file, name, into),
            At::Path(path) => rustix::fs::getxattr(path.as_str(), name, into),
        }
    }

    fn set(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        match self {
            At::Open(file) => rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()),
            At::Path(path) => rustix::fs::setxattr(path.as_str(), name, value, XattrFlags::empty()),
        }
    }

    fn remove(&self, name: &[u8]) -> Result<(), Errno> {
        match self {
            At::Open(file) => rustix::fs::fremovexattr(file, name),
            At::Path(path) => rustix::fs::removexattr(path.as_str(), name),
        }
    }

    /// Names of users' attributes; `None` when the list is longer than the kernel gives out.
    fn names(&self) -> io::Result<Option<Vec<Vec<u8>>>> {
        // Hardly any file has one, and hardly any has many.
        let mut few = [0_u8; FEW];
        let mut many = Vec::new();
        let list = match self.list(&mut few) {
            Ok(length) => few.get(..length),
            Err(Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => None,
            Err(Errno::RANGE) => {
                many.resize(MOST, 0);
                match self.list(&mut many) {
                    Ok(length) => many.get(..length),
                    Err(Errno::TOOBIG | Errno::RANGE) => return Ok(None),
                    Err(error) => return Err(error.into()),
                }
            }
            Err(Errno::TOOBIG) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let all = list.unwrap_or_default().split(|byte| *byte == 0);
        Ok(Some(all.filter(|name| is_users(name)).map(<[u8]>::to_vec).collect()))
    }

    /// `None` for one that was removed meanwhile, or is not for this user to read.
    fn value(&self, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut value = vec![0_u8; MOST];
        match self.get(name, &mut value) {
            Ok(length) => {
                value.truncate(length);
                Ok(Some(value))
            }
            Err(Errno::NODATA | Errno::ACCESS | Errno::PERM | Errno::NOTSUP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a refusal is about attributes and not about the file: its file system has none, or no room for these.
fn is_refusal(error: Errno) -> bool {
    let refusals = [
        Errno::NOTSUP,
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::TOOBIG,
        Errno::RANGE,
        Errno::ACCESS,
        Errno::PERM,
        Errno::INVAL,
    ];
    refusals.contains(&error)
}

/// What a file or folder has, open or open by path only.
pub(crate) fn read(file: impl AsFd) -> io::Result<Found> {
    let at = At::of(file.as_fd());
    let beyond = || Found { kept: Attributes::default(), beyond: true };
    let Some(mut names) = at.names()? else { return Ok(beyond()) };
    names.retain(|name| is_kept(name));
    if names.len() > MOST_ATTRIBUTES {
        return Ok(beyond());
    }
    let (mut all, mut bytes) = (BTreeMap::new(), 0);
    for name in names {
        let Some(value) = at.value(&name)? else { continue };
        bytes += name.len() + value.len();
        if bytes > MOST_ATTRIBUTE_BYTES {
            return Ok(beyond());
        }
        all.insert(name, value);
    }
    Ok(Found { kept: Attributes(all), beyond: false })
}

/// Whether the file system of a file has attributes for users.
pub(crate) fn are_there(file: impl AsFd) -> bool {
    !matches!(At::of(file.as_fd()).get(b"user.wflo", &mut [0; 1]), Err(Errno::NOTSUP))
}

/// Gives a new file or folder all of them, or, where its file system refuses one, none: then `false`.
///
/// # Errors
/// Whatever is no refusal.
pub(crate) fn give(file: impl AsFd, wanted: &Attributes) -> io::Result<bool> {
    let at = At::of(file.as_fd());
    for (name, value) in wanted.iter() {
        match at.set(name, value) {
            Ok(()) => {}
            Err(error) if is_refusal(error) => {
                for (given, _) in wanted.iter().take_while(|(given, _)| *given != name) {
                    let _gone = at.remove(given);
                }
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Brings a folder that is there from what it has to `wanted`; `false` where its file system refuses one. Cut short,
/// it is between the two ([`Attributes::is_between`]).
///
/// # Errors
/// Whatever is no refusal.
pub(crate) fn change(file: impl AsFd, wanted: &Attributes) -> io::Result<bool> {
    let now = read(&file)?.kept;
    let at = At::of(file.as_fd());
    let mut all = true;
    let mut done = |result: Result<(), Errno>| match result {
        Ok(()) | Err(Errno::NODATA) => Ok(()),
        Err(error) if is_refusal(error) => {
            all = false;
            Ok(())
        }
        Err(error) => Err(io::Error::from(error)),
    };
    for (name, _) in now.iter().filter(|(name, _)| wanted.get(name).is_none()) {
        done(at.remove(name))?;
    }
    for (name, value) in wanted.iter().filter(|(name, value)| now.get(name) != Some(value)) {
        done(at.set(name, value))?;
    }
    Ok(all)
}

/// Gives `to`, which may be open by path only, those of `from` that no tree keeps: all of them where there are more
/// than one keeps, or where `every` says so. Where its file system takes none, it has none.
pub(crate) fn copy_rest(from: BorrowedFd<'_>, to: impl AsFd, every: bool) -> io::Result<()> {
    let (from_at, to_at) = (At::of(from), At::of(to.as_fd()));
    let names = from_at.names()?.unwrap_or_default();
    if names.is_empty() {
        return Ok(());
    }
    let every = every || read(from)?.beyond;
    for name in names.iter().filter(|name| every || !is_kept(name)) {
        let Some(value) = from_at.value(name)? else { continue };
        match to_at.set(name, &value) {
            Ok(()) => {}
            Err(error) if is_refusal(error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::workspace) fn set(all: &[(&str, &str)]) -> Attributes {
        let all = all.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        Attributes::new(all.collect()).unwrap()
    }

    #[test]
    fn a_set_holds_users_attributes_within_its_bounds_and_no_notes_of_an_overlay() {
        let one = |name: &str, value: usize| {
            Attributes::new([(name.as_bytes().to_vec(), vec![1; value])].into()).is_some()
        };
        assert!(one("user.tag", 0) && one("user.tag", MOST_ATTRIBUTE_BYTES - 8));
        for name in [
            "user.overlay.opaque",
            "user.overlay.overlay.opaque",
            "trusted.overlay.opaque",
            "security.capability",
            "system.posix_acl_access",
            "user.",
            "user.a\0b",
            "user.xdg.origin.url",
        ] {
            assert!(!one(name, 1), "{name}");
        }
        assert!(!one("user.tag", MOST_ATTRIBUTE_BYTES) && !one(&format!("user.{}", "x".repeat(251)), 1));
        let many = |count: usize| (0..count).map(|n| (format!("user.{n}").into_bytes(), vec![])).collect();
        assert!(Attributes::new(many(MOST_ATTRIBUTES)).is_some());
        assert!(Attributes::new(many(MOST_ATTRIBUTES + 1)).is_none());
    }

    #[test]
    fn each_attribute_is_merged_by_itself() {
        let none = Attributes::default();
        let (a, b, ab) =
            (set(&[("user.a", "1")]), set(&[("user.b", "1")]), set(&[("user.a", "1"), ("user.b", "1")]));
        let other = set(&[("user.a", "2")]);
        for (base, theirs, ours, expected) in [
            (&none, &a, &b, Some(&ab)),
            (&none, &a, &a, Some(&a)),
            (&none, &a, &other, None),
            (&a, &a, &none, Some(&none)),
            (&a, &ab, &none, Some(&b)),
            (&a, &ab, &other, Some(&set(&[("user.a", "2"), ("user.b", "1")]))),
            (&a, &none, &a, Some(&none)),
            (&a, &other, &none, None),
            (&a, &none, &ab, Some(&b)),
        ] {
            let merged = Attributes::merged(base, theirs, ours);
            assert_eq!(merged.as_ref(), expected, "{base:?} {theirs:?} {ours:?}");
        }
    }

    #[test]
    fn a_change_that_was_cut_short_is_known() {
        let (from, to) = (set(&[("user.a", "1"), ("user.b", "1")]), set(&[("user.b", "2"), ("user.c", "1")]));
        for (now, between) in [
            (from.clone(), true),
            (to.clone(), true),
            (set(&[("user.b", "1")]), true),
            (set(&[("user.b", "2")]), true),
            (set(&[("user.b", "3")]), false),
            (set(&[("user.a", "1"), ("user.c", "1")]), false),
            (set(&[("user.b", "1"), ("user.d", "1")]), false),
        ] {
            assert_eq!(now.is_between(&from, &to), between, "{now:?}");
        }
    }

    #[test]
    fn a_folder_is_brought_from_one_set_to_another() {
        let folder = tempfile::tempdir().unwrap();
        let open = std::fs::File::open(folder.path()).unwrap();
        if !give(&open, &set(&[("user.a", "1"), ("user.b", "1")])).unwrap() {
            println!("no attributes for users here");
            return;
        }
        let wanted = set(&[("user.b", "2"), ("user.c", "\u{e4}\n")]);
        assert!(change(&open, &wanted).unwrap());
        assert_eq!(read(&open).unwrap().kept, wanted);
        let text = serde_json::to_string(&wanted).unwrap();
        assert_eq!(serde_json::from_str::<Attributes>(&text).unwrap(), wanted);
    }
}
