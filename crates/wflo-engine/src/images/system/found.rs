//! What a build of programs has found, line by line: the word of apt and dpkg-deb, read as text.

use super::super::error::ImageError;
use super::super::store::Archive;

/// So many names are offered.
const OFFERED: usize = 3;
/// So many packages are named.
const NAMED: usize = 10;

/// All of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Found {
    /// What was unpacked.
    pub(in super::super) files: Vec<Archive>,
    /// Files that are not shown.
    pub(in super::super) dropped: Vec<String>,
    /// Names, or versions, that nobody has.
    unknown: Vec<String>,
    /// Names that somebody has.
    known: Vec<String>,
    /// Versions that somebody has.
    versions: Vec<String>,
    /// What would be done to this machine's packages.
    replaced: Vec<String>,
}

impl Found {
    /// Reads it. What is none of it is left out.
    pub(in super::super) fn read(text: &str) -> Found {
        let mut found = Found::default();
        for line in text.lines() {
            let line: String = line.chars().filter(|c| !c.is_control()).collect();
            if let Some(path) = line.strip_prefix("dropped ") {
                found.dropped.push(path.to_owned());
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["file", name, version, architecture, sha256] => found.files.push(Archive {
                    name: (*name).to_owned(),
                    version: (*version).to_owned(),
                    architecture: (*architecture).to_owned(),
                    sha256: (*sha256).to_owned(),
                }),
                ["unknown", name] => found.unknown.push((*name).to_owned()),
                ["known", name] => found.known.push((*name).to_owned()),
                ["version", _, version] => found.versions.push((*version).to_owned()),
                ["plan", "Remv", name, ..] => found.replaced.push(format!("{name} (removed)")),
                // Of a package that is there, its version stands in brackets before the new one.
                ["plan", "Inst", name, old, new, ..] if old.starts_with('[') => {
                    let (old, new) = (old.trim_matches(['[', ']']), new.trim_matches(['(', ')']));
                    found.replaced.push(format!("{name} ({old} by {new})"));
                }
                _ => {}
            }
        }
        found
    }

    /// That a package is known to nobody that was asked, with what may be meant.
    pub(in super::super) fn unknown(&self, left_out: &[String]) -> ImageError {
        let name = self.unknown.first().cloned().unwrap_or_default();
        let (near, versions) = (self.near(&name), self.versions.clone());
        ImageError::NoPackage { near, name, versions, left_out: left_out.to_vec() }
    }

    fn near(&self, name: &str) -> Vec<String> {
        let steps = |known: &&String| strsim::damerau_levenshtein(name, known);
        let mut close: Vec<(usize, &String)> =
            self.known.iter().map(|known| (steps(&known), known)).collect();
        close
            .retain(|(steps, known)| steps * 3 <= known.len() || (name.len() > 3 && known.starts_with(name)));
        close.sort();
        close.into_iter().take(OFFERED).map(|(_, known)| known.clone()).collect()
    }

    /// What would be done to this machine's packages, for people.
    pub(in super::super) fn replaced(&self) -> Vec<String> {
        let mut named: Vec<String> = self.replaced.iter().take(NAMED).cloned().collect();
        if self.replaced.len() > NAMED {
            named.push(format!("{} more", self.replaced.len() - NAMED));
        }
        named
    }

    /// The package that it was at.
    pub(in super::super) fn last(&self) -> String {
        self.files.last().map(|file| format!("{}={}", file.name, file.version)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_done_to_the_machine_is_told_from_what_is_new() {
        let found = Found::read(
            "plan Inst tree (2.1.0-1 Debian:12.15/oldstable [amd64])\n\
             plan Inst jq [1.6-2.1+deb12u1] (1.6-2.1+deb12u3 Debian-Security:12/oldstable-security [amd64]) []\n\
             plan Inst libx (1 Debian [amd64]) [liby:amd64 ]\nplan Remv yq [3.1.0-3]\nrubbish\n",
        );
        assert_eq!(found.replaced(), ["jq (1.6-2.1+deb12u1 by 1.6-2.1+deb12u3)", "yq (removed)"]);
    }

    #[test]
    fn what_is_not_known_is_told_with_what_is_near() {
        let found = Found::read(
            "unknown popler-utils\nknown poppler-utils\nknown poppler-data\nknown jq\nknown zzz\n",
        );
        let ImageError::NoPackage { name, near, .. } = found.unknown(&[]) else { panic!() };
        assert_eq!((name.as_str(), near), ("popler-utils", vec!["poppler-utils".to_owned()]));
        let found = Found::read("unknown jq\nversion jq 1.6-2.1\nversion jq 1.5\n");
        assert!(matches!(found.unknown(&[]), ImageError::NoPackage { versions, .. } if versions.len() == 2));
    }

    #[test]
    fn what_was_unpacked_is_kept_with_its_hash() {
        let found = Found::read("file jq 1.6-2.1 amd64 00ff\nfile half 1\n");
        assert_eq!(found.files.len(), 1);
        assert_eq!((found.last().as_str(), found.files[0].sha256.as_str()), ("jq=1.6-2.1", "00ff"));
    }
}
