//! Names as other file systems read them: a project may lie on one that takes two names for one, or be shared with,
//! copied to or committed from one that does.
//!
//! - Case: ext4 and f2fs folders with `casefold`, exFAT, NTFS, SMB, APFS and HFS+ compare without it, and so without the
//!   difference of `ß` and `ss`, `ﬁ` and `fi`, `ſ` and `s`.
//! - Composed and decomposed letters are one on those and on ZFS with `normalization`.
//! - Characters that are not seen (soft hyphens, joiners, marks of direction) do not count where names are folded as
//!   Unicode says (`utf8_casefold` of Linux), or are dropped (HFS+; `utf8.c`, `next_hfs_char` of Git).
//! - NTFS has short names, takes what follows a colon for a stream, and drops dots and blanks at the end (`path.c`,
//!   `is_ntfs_dot_generic` of Git).
//!
//! One form is made for all of them: what is guarded is guarded under each name that it has anywhere. It is too wide
//! for any single one, so names that only meet each other are asked about where they do meet ([`folds`]).

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use rustix::fs::AtFlags;

use super::beneath;
use super::path::RelPath;

/// A folder whose names are folded (`FS_CASEFOLD_FL`, `linux/fs.h`).
const CASEFOLD: u32 = 0x4000_0000;
/// File systems that fold every name: FAT, exFAT, NTFS (two drivers), HFS, HFS+, SMB (two versions), as `statfs` says.
const FOLDING: [u32; 8] =
    [0x4d44, 0x2011_bab0, 0x5346_544e, 0x7366_746e, 0x4244, 0x482b, 0xff53_4d42, 0xfe53_4d42];
/// So many names of a folder are tried.
const TRIED: usize = 64;

/// What one part of a path may be elsewhere, in lower case.
pub(super) fn folded(part: &[u8]) -> Vec<u8> {
    // Most are, and nothing composes or vanishes in them.
    if part.is_ascii() {
        let lower = part.to_ascii_lowercase();
        let name = lower.split(|&byte| byte == b':').next().unwrap_or_default();
        let end = name.iter().rposition(|byte| !b". ".contains(byte)).map_or(0, |last| last + 1);
        return match name.get(..end).unwrap_or_default() {
            b"git~1" | b"git~2" | b"git~3" | b"git~4" => b".git".to_vec(),
            b"" => part.to_vec(),
            name => name.to_vec(),
        };
    }
    let text = String::from_utf8_lossy(part);
    let seen: String = text.chars().filter(|c| !is_unseen(*c)).collect();
    // By way of capitals, so that letters with one capital are one letter; twice, since a capital may fall apart.
    let nfd = DecomposingNormalizerBorrowed::new_nfd();
    let lower = nfd.normalize(&seen).to_uppercase().to_lowercase();
    let lower = nfd.normalize(&lower);
    let name = lower.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']);
    match name {
        "git~1" | "git~2" | "git~3" | "git~4" => b".git".to_vec(),
        // Nothing but dots and blanks: a name of its own here, and none there.
        "" => part.to_vec(),
        name => name.as_bytes().to_vec(),
    }
}

/// The same of each part of a path.
pub(super) fn folded_path(path: &RelPath) -> RelPath {
    path.components().fold(RelPath::root(), |at, part| at.join(&folded(part)))
}

/// Characters without a shape of their own (`Default_Ignorable_Code_Point`).
fn is_unseen(c: char) -> bool {
    matches!(
        u32::from(c),
        0xad | 0x34f | 0x61c | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f
            | 0x202a..=0x202e | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfff8
            | 0x1_bca0..=0x1_bca3 | 0x1_d173..=0x1_d17a | 0xe_0000..=0xe_0fff
    )
}

/// Whether two names can be one in this folder: its mark says so, or its kind of file system, or a name in it is
/// found when it is spelt another way. Nothing is written. `None` where no name there could tell.
pub(super) fn folds(folder: &OwnedFd) -> io::Result<Option<bool>> {
    if rustix::fs::ioctl_getflags(folder).is_ok_and(|flags| flags.bits() & CASEFOLD != 0) {
        return Ok(Some(true));
    }
    // Wider on some machines, and of the same 32 bits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "magic numbers have 32 bits")]
    let kind = rustix::fs::fstatfs(folder)?.f_type as u32;
    if FOLDING.contains(&kind) {
        return Ok(Some(true));
    }
    let names = beneath::names(folder)?;
    let listed: HashSet<&[u8]> = names.iter().map(|name| name.name.as_slice()).collect();
    let mut asked = false;
    for name in names.iter().take(TRIED).map(|name| name.name.as_slice()) {
        let others = respelt(name).into_iter().filter(|other| !listed.contains(other.as_slice()));
        for other in others {
            asked = true;
            let found = rustix::fs::statat(folder, other.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
            let own = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
            if let (Ok(found), Ok(own)) = (found, own)
                && (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)
            {
                return Ok(Some(true));
            }
        }
    }
    Ok(asked.then_some(false))
}

/// The name in the other case, and composed and decomposed, as far as that is another name.
fn respelt(name: &[u8]) -> Vec<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(name) else { return Vec::new() };
    let swap = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    let forms = [
        text.chars().map(swap).collect::<String>(),
        DecomposingNormalizerBorrowed::new_nfd().normalize(text).into_owned(),
        ComposingNormalizerBorrowed::new_nfc().normalize(text).into_owned(),
    ];
    forms.into_iter().map(String::into_bytes).filter(|form| form != name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_it_would_be_elsewhere() {
        for git in [
            ".git",
            ".GIT",
            ".git.",
            ".git . .",
            ".git::$index_allocation",
            "git~1",
            "GIT~1",
            ".g\u{200c}it",
            "\u{feff}.git",
            ".g\u{ad}it",
            ".gi\u{fe0f}t",
            ".git\u{2060}",
            ".g\u{e0001}it",
            ".g\u{131}t",
        ] {
            assert_eq!(folded(git.as_bytes()), b".git", "{git:?}");
        }
        for own in ["git~9", "...", " ", "gitx", ".gitignore"] {
            assert_eq!(folded(own.as_bytes()), own.as_bytes(), "{own}");
        }
        for (one, other) in [
            ("Make\u{fb01}le", "makefile"),
            ("run.\u{17f}h", "run.sh"),
            ("\u{212a}", "k"),
            ("Stra\u{df}e", "STRASSE"),
            ("caf\u{e9}", "CAFE\u{301}"),
            ("\u{3c3}", "\u{3c2}"),
        ] {
            assert_eq!(folded(one.as_bytes()), folded(other.as_bytes()), "{one} {other}");
        }
        assert_ne!(folded("a\u{308}".as_bytes()), folded(b"a"), "a mark is seen");
        assert_eq!(folded(b"a\xff.sh"), "a\u{fffd}.sh".as_bytes());
        let path: RelPath = ".GIT/Hooks/x.".parse().unwrap();
        assert_eq!(folded_path(&path).to_string(), ".git/hooks/x");
    }

    #[test]
    fn a_folder_that_takes_names_as_they_are_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let open = beneath::open_root(folder.path()).unwrap();
        assert_eq!(folds(&open).unwrap(), None, "an empty one cannot tell");
        std::fs::write(folder.path().join("name"), "").unwrap();
        assert_eq!(folds(&open).unwrap(), Some(false));
    }
}
