//! What an interpreter's folders hold under names of secrets, and is nobody's: keys of Python's own tests, and files that a
//! package brought.
//!
//! Judged by where a file stands: in `pythonX.Y/test` beside the standard library, or in a folder of packages as what a
//! package's record (PEP 376, `RECORD`) says that it installed, byte for byte. A file that somebody put there, or changed,
//! stays hidden, and so does what is hidden for another reason than its name. A record says nothing of where a file came
//! from before: what was installed from a folder or an address (PEP 610, `direct_url.json`) may be the user's own, and
//! a `.env` is nobody's to publish.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};

use super::hidden::{Hidden, Reason};
use super::path::RelPath;

/// Folders of packages.
const PACKAGES: [&[u8]; 2] = [b"site-packages", b"dist-packages"];
/// The largest record that is read, and the largest file that is compared with one.
const LARGEST: u64 = 16 << 20;
/// So much of the records of one folder is kept.
const RECORDS: usize = 64 << 20;

/// What is known of one folder that is shown because an interpreter is in it.
pub(super) struct Brought<'a> {
    folder: &'a Path,
    hidden: &'a Hidden,
    /// The records in a folder of packages, each read once.
    records: RefCell<HashMap<PathBuf, Vec<String>>>,
}

impl<'a> Brought<'a> {
    /// Of `folder`, in which `hidden` are hidden.
    pub(super) fn new(folder: &'a Path, hidden: &'a Hidden) -> Brought<'a> {
        Brought { folder, hidden, records: RefCell::default() }
    }

    /// Whether the file at `path` is the interpreter's or a package's own.
    pub(super) fn holds(&self, path: &RelPath) -> bool {
        let full = self.folder.join(path.as_path());
        match self.hidden.by_path(path) {
            Some(Reason::KeyFile) => is_of_tests(&full) || self.is_of_package(&full),
            Some(Reason::Environment) => is_of_tests(&full),
            _ => false,
        }
    }

    fn is_of_package(&self, file: &Path) -> bool {
        let is_packages =
            |folder: &&Path| folder.file_name().is_some_and(|name| PACKAGES.contains(&name.as_bytes()));
        // What is shown has no part in a folder above it.
        let within = file.ancestors().take_while(|folder| folder.starts_with(self.folder));
        let Some(packages) = within.filter(is_packages).last() else { return false };
        let Some(own) = file.strip_prefix(packages).ok().and_then(Path::to_str) else { return false };
        let mut records = self.records.borrow_mut();
        let records = records.entry(packages.to_owned()).or_insert_with(|| read_records(packages));
        let mut said = records.iter().flat_map(|record| record.lines()).filter_map(|line| said_of(line, own));
        let Some(first) = said.next() else { return false };
        content(file).is_some_and(|content| {
            let found = URL_SAFE_NO_PAD.encode(digest(&SHA256, &content));
            first == found || said.any(|other| other == found)
        })
    }
}

/// The digest that a line of a record has for `file`.
fn said_of<'l>(line: &'l str, file: &str) -> Option<&'l str> {
    let digest = line.strip_prefix(file)?.strip_prefix(",sha256=")?;
    digest.split(',').next()
}

fn read_records(packages: &Path) -> Vec<String> {
    let folders = std::fs::read_dir(packages).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = folders.filter(|folder| folder.extension() == Some(OsStr::new("dist-info")));
    let published = folders.filter(|folder| folder.join("direct_url.json").symlink_metadata().is_err());
    let mut room = RECORDS;
    let read = |folder: PathBuf| String::from_utf8(content(&folder.join("RECORD"))?).ok();
    let fits = |record: &String| {
        let left = room.checked_sub(record.len());
        room = left.unwrap_or(0);
        left.is_some()
    };
    published.filter_map(read).take_while(fits).collect()
}

/// A regular file's content; links are not followed.
fn content(file: &Path) -> Option<Vec<u8>> {
    let meta = file.symlink_metadata().ok()?;
    (meta.is_file() && meta.len() <= LARGEST).then(|| std::fs::read(file).ok()).flatten()
}

/// Whether it is in the tests of a standard library: `…/pythonX.Y/test/…` where `pythonX.Y/os.py` is.
fn is_of_tests(file: &Path) -> bool {
    let mut at = PathBuf::new();
    let mut parts = file.components().peekable();
    while let Some(part) = parts.next() {
        at.push(part);
        let Component::Normal(name) = part else { continue };
        if PACKAGES.contains(&name.as_bytes()) {
            return false;
        }
        if is_library(name.as_bytes())
            && parts.peek().is_some_and(|next| next.as_os_str() == "test")
            && ["os.py", "test/__init__.py"].iter().all(|own| at.join(own).is_file())
        {
            return true;
        }
    }
    false
}

/// `python3.12`, `python3.13t`
fn is_library(name: &[u8]) -> bool {
    let Some(version) = name.strip_prefix(b"python") else { return false };
    let version = version.strip_suffix(b"t").unwrap_or(version);
    let mut parts = version.split(|byte| *byte == b'.');
    let is_number =
        |part: Option<&[u8]>| part.is_some_and(|p| !p.is_empty() && p.iter().all(u8::is_ascii_digit));
    is_number(parts.next()) && is_number(parts.next()) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::super::hidden::HideRules;
    use super::*;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nx\n";

    #[test]
    fn what_an_interpreter_and_its_packages_brought_is_nobodys_secret() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for file in ["os.py", "test/__init__.py", "test/certdata/keycert.pem", "test/k.key", "mine.key"] {
            write(&format!("python3.12/{file}"), KEY);
        }
        // No standard library is beside these.
        write("python3.11/test/k.key", KEY);
        write("other/test/k.key", KEY);
        let site = "python3.12/site-packages";
        for file in ["moto/ca.key", "moto/changed.key", "moto/put.key", ".env", "test/k.key"] {
            write(&format!("{site}/{file}"), KEY);
        }
        let said = URL_SAFE_NO_PAD.encode(digest(&SHA256, KEY.as_bytes()));
        write(
            &format!("{site}/moto-1.dist-info/RECORD"),
            &format!("moto/ca.key,sha256={said},30\nmoto/changed.key,sha256=AAAA,30\nmoto/none.key,,\n"),
        );
        let hidden = Hidden::new(folder.path(), &HideRules::default()).unwrap();
        let brought = Brought::new(folder.path(), &hidden);
        let holds = |path: &str| brought.holds(&path.parse().unwrap());
        for own in ["python3.12/test/certdata/keycert.pem", "python3.12/test/k.key"] {
            assert!(holds(own), "{own}");
        }
        assert!(holds(&format!("{site}/moto/ca.key")));
        // Of a folder or an address, nobody knows whose it was.
        write(&format!("{site}/mine/ca.key"), KEY);
        write(&format!("{site}/mine-1.dist-info/RECORD"), &format!("mine/ca.key,sha256={said},30\n"));
        write(&format!("{site}/mine-1.dist-info/direct_url.json"), "{}");
        write(&format!("{site}/env-1.dist-info/RECORD"), &format!("env/.env,sha256={said},30\n"));
        write(&format!("{site}/env/.env"), KEY);
        let brought = Brought::new(folder.path(), &hidden);
        for other in ["mine/ca.key", "env/.env"] {
            assert!(!brought.holds(&format!("{site}/{other}").parse().unwrap()), "{other}");
        }
        for other in ["python3.12/mine.key", "python3.11/test/k.key", "other/test/k.key"] {
            assert!(!holds(other), "{other}");
        }
        for other in ["moto/changed.key", "moto/put.key", ".env", "test/k.key"] {
            assert!(!holds(&format!("{site}/{other}")), "{other}");
        }
    }

    #[test]
    fn what_is_hidden_for_another_reason_stays_so() {
        let folder = tempfile::tempdir().unwrap();
        let tests = folder.path().join("python3.12/test");
        std::fs::create_dir_all(&tests).unwrap();
        for file in ["../os.py", "__init__.py", "wflo.key"] {
            std::fs::write(tests.join(file), KEY).unwrap();
        }
        let rules = HideRules { databases: vec![tests.join("wflo.key")], ..HideRules::default() };
        let hidden = Hidden::new(folder.path(), &rules).unwrap();
        assert!(!Brought::new(folder.path(), &hidden).holds(&"python3.12/test/wflo.key".parse().unwrap()));
    }

    #[test]
    fn a_library_has_a_version() {
        assert!(is_library(b"python3.12") && is_library(b"python3.13t") && is_library(b"python2.7"));
        assert!(
            !is_library(b"python3")
                && !is_library(b"python3.x")
                && !is_library(b"python")
                && !is_library(b"x")
        );
    }
}
