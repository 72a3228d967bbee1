//! What Git tracks, as its index says.
//!
//! The format is Git's: <https://git-scm.com/docs/index-format>. What cannot be read names nothing: only words follow.

use std::collections::HashSet;
use std::os::fd::OwnedFd;

use super::super::beneath;
use super::super::path::RelPath;
use super::super::store::blob::read_up_to;
use super::super::survey::MAX_DEPTH;

/// An index that is longer is not read, in bytes.
const LONGEST: u64 = 128 << 20;
/// So long is a path at most, in bytes, and so long are all of them together: the fourth version writes a long name in
/// few bytes.
const LONGEST_NAME: usize = 4_096;
const LONGEST_NAMES: usize = 128 << 20;
/// What comes before an entry's hash, in bytes: times, numbers, mode, owner, size.
const STAT: usize = 40;
/// The lengths of a hash, in bytes: SHA-1 and SHA-256.
const HASHES: [usize; 2] = [20, 32];
/// The file is taken for unchanged, whatever there is.
const ASSUME_VALID: u16 = 0x8000;
/// Two more bytes of flags follow.
const EXTENDED: u16 = 0x4000;
/// In those: the file is not expected to be there.
const SKIP_WORKTREE: u16 = 0x4000;

/// An index that was read to its end.
pub(crate) struct Index {
    bytes: Vec<u8>,
    /// The length of its hashes.
    hash: usize,
}

/// A file that Git tracks.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a [u8],
    /// Git's name of its content.
    pub(crate) hash: &'a [u8],
    /// Git takes it for deleted where it is not there.
    pub(crate) is_expected: bool,
}

impl Index {
    /// The one of the repository whose work tree begins at `root`; nothing where that is none, or one of unheard-of size.
    pub(crate) fn read(root: &OwnedFd) -> Option<Index> {
        let git = beneath::open_dir(root, b".git").ok()?;
        let file = std::fs::File::from(beneath::open_file(&git, b"index").ok()?);
        let about = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let bytes = (about.len() <= LONGEST).then(|| read_up_to(&file, LONGEST).ok())??;
        let hash = HASHES.into_iter().find(|hash| walk(&bytes, *hash, |_| ()).is_some())?;
        Some(Index { bytes, hash })
    }

    /// Sees every file.
    pub(crate) fn each(&self, see: impl FnMut(Entry<'_>)) {
        // That it can be read was found out before.
        let _ = walk(&self.bytes, self.hash, see);
    }
}

/// Sees every file of an index; nothing where this is none with hashes of that length.
fn walk(index: &[u8], hash: usize, mut see: impl FnMut(Entry<'_>)) -> Option<()> {
    let number = |at: usize| Some(u32::from_be_bytes(index.get(at..at + 4)?.try_into().ok()?));
    let flags_at = |at: usize| Some(u16::from_be_bytes(index.get(at..at + 2)?.try_into().ok()?));
    let (version, count) = (number(4)?, number(8)?);
    if !index.starts_with(b"DIRC") || !(2..=4).contains(&version) {
        return None;
    }
    let (mut name, mut named) = (Vec::new(), 0);
    let mut at = 12;
    for _ in 0..count {
        let flags = flags_at(at + STAT + hash)?;
        let mut rest = at + STAT + hash + 2;
        let mut is_expected = flags & ASSUME_VALID == 0;
        if flags & EXTENDED != 0 {
            is_expected &= flags_at(rest)? & SKIP_WORKTREE == 0;
            rest += 2;
        }
        if version == 4 {
            let kept = name.len().checked_sub(offset(index, &mut rest)?)?;
            name.truncate(kept);
        } else {
            name.clear();
        }
        let length = index.get(rest..)?.iter().take(LONGEST_NAME + 1).position(|byte| *byte == 0)?;
        name.extend_from_slice(index.get(rest..rest + length)?);
        named += name.len();
        if name.len() > LONGEST_NAME || named > LONGEST_NAMES {
            return None;
        }
        see(Entry { name: &name, hash: index.get(at + STAT..at + STAT + hash)?, is_expected });
        rest += length;
        // To a multiple of eight, with at least one NUL; the fourth version leaves that out.
        at = if version == 4 { rest + 1 } else { at + (rest - at + 8) / 8 * 8 };
    }
    // Extensions, each with its length, and the hash of it all: elsewhere this was read with the wrong length.
    let end = index.len().checked_sub(hash)?;
    while at < end {
        at = at.checked_add(8)?.checked_add(usize::try_from(number(at + 4)?).ok()?)?;
    }
    (at == end).then_some(())
}

/// Those of `paths` that Git tracks, or tracks something in, and that it would take for deleted where they are not.
pub(crate) fn missed(root: &OwnedFd, paths: &[RelPath]) -> Vec<RelPath> {
    if paths.is_empty() {
        return Vec::new();
    }
    let asked: HashSet<&[u8]> = paths.iter().map(RelPath::as_bytes).collect();
    let mut found: HashSet<&[u8]> = HashSet::new();
    let Some(index) = Index::read(root) else { return Vec::new() };
    index.each(|entry| {
        let name = entry.name;
        let ends = name.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut parts = ends.take(MAX_DEPTH).chain([name.len()]).filter_map(|end| name.get(..end));
        if entry.is_expected {
            found.extend(parts.find_map(|part| asked.get(part)).copied());
        }
    });
    paths.iter().filter(|path| found.contains(path.as_bytes())).cloned().collect()
}

/// A number as packs write an offset: seven bits a byte, and one more for each that follows.
fn offset(index: &[u8], at: &mut usize) -> Option<usize> {
    let mut value = 0_usize;
    loop {
        let byte = *index.get(*at)?;
        *at += 1;
        value = value.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        value = value.checked_add(1)?;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn git(folder: &Path, args: &[&str]) {
        let mut git = Command::new("git");
        git.current_dir(folder).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        assert!(git.args(args).output().unwrap().status.success(), "{args:?}");
    }

    fn missed_in(folder: &Path, paths: &[&str]) -> Vec<String> {
        let paths: Vec<RelPath> = paths.iter().map(|path| path.parse().unwrap()).collect();
        let root = beneath::open_root(folder).unwrap();
        missed(&root, &paths).iter().map(RelPath::to_string).collect()
    }

    /// A repository with files under names that are hidden, and one that only looks like it.
    fn repository(format: &str, version: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let of = folder.path();
        git(of, &["init", "--quiet", &format!("--object-format={format}")]);
        for path in [".env", "a/.env", "a/b/long.name.env", "keys/one/a.txt", "keys/two", "z.env.d/x"] {
            std::fs::create_dir_all(of.join(path).parent().unwrap()).unwrap();
            std::fs::write(of.join(path), path).unwrap();
        }
        git(of, &["add", "--all"]);
        std::fs::write(of.join("b.env"), "not added").unwrap();
        git(of, &["update-index", "--index-version", version]);
        folder
    }

    #[test]
    fn what_git_tracks_is_read_from_every_kind_of_index() {
        for format in ["sha1", "sha256"] {
            for version in ["2", "3", "4"] {
                let folder = repository(format, version);
                let asked = [".env", "b.env", "a/b/long.name.env", "keys", "z.env", "b/.env"];
                let found = missed_in(folder.path(), &asked);
                assert_eq!(found, [".env", "a/b/long.name.env", "keys"], "{format} {version}");
                git(folder.path(), &["update-index", "--skip-worktree", ".env"]);
                git(folder.path(), &["update-index", "--assume-unchanged", "a/b/long.name.env"]);
                assert_eq!(missed_in(folder.path(), &asked), ["keys"], "{format} {version}");
            }
        }
    }

    #[test]
    fn what_is_no_index_names_nothing() {
        let folder = repository("sha1", "2");
        let index = folder.path().join(".git/index");
        let whole = std::fs::read(&index).unwrap();
        for end in 0..whole.len() {
            std::fs::write(&index, &whole[..end]).unwrap();
            missed_in(folder.path(), &[".env"]);
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            std::fs::write(&index, changed).unwrap();
            missed_in(folder.path(), &[".env"]);
        }
        // Entries of a few bytes, each of which stands for a name of a megabyte.
        let mut long = b"DIRC\0\0\0\x04\0\x0f\xff\xff".to_vec();
        let entry = |name: &[u8]| [&[0; 62][..], b"\0", name, b"\0"].concat();
        long.extend(entry(&[b'/'; 1 << 20]));
        long.extend(std::iter::repeat_n(entry(b""), 1 << 16).flatten());
        std::fs::write(&index, long).unwrap();
        assert!(missed_in(folder.path(), &[".env"]).is_empty());
        std::fs::write(&index, b"DIRC\0\0\0\x04\xff\xff\xff\xff").unwrap();
        assert!(missed_in(folder.path(), &[".env"]).is_empty());
        std::fs::remove_file(&index).unwrap();
        assert!(missed_in(folder.path(), &[".env"]).is_empty());
    }
}
