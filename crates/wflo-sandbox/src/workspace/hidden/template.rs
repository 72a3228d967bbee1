//! Templates of environment files (`.env.example`): what a program wants to be told, without the answers.
//!
//! Projects commit them, and who works on one needs them. Whether a secret is in one nothing can tell by looking at it. So
//! one is seen where that tells nobody more: when Git has it in its index as it is, byte for byte, for what Git has is
//! seen in its objects.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use rustix::fs::FileType;

use super::Hidden;
use super::names::CONTENT_LIMIT;
use crate::workspace::beneath::{self, Name};
use crate::workspace::path::RelPath;
use crate::workspace::repository::Index;
use crate::workspace::store::blob::read_up_to;

/// How the name of a template begins, or ends where what it is a template of stands there.
const OF: [&str; 2] = [".env", ".dev.vars"];
/// What such a name says beside that.
const WORDS: [&str; 4] = ["example", "sample", "template", "dist"];

/// Whether a file of this name, in lower case, is a template: `.env.example`, `.env.prod-sample`, `template.env`.
pub(super) fn is_template(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let says = |rest: &str| {
        let last = rest.rsplit(['.', '-', '_']).next().unwrap_or(rest);
        WORDS.contains(&last)
    };
    let begins = OF.iter().filter_map(|of| name.strip_prefix(of));
    let mut parts = begins.filter(|rest| rest.starts_with(['.', '-', '_'])).chain(name.strip_suffix(".env"));
    parts.any(says)
}

/// What Git has of a project's templates.
#[derive(Debug, Default)]
pub(crate) struct Templates(HashMap<Vec<u8>, Vec<u8>>);

impl Templates {
    /// Those of the project at `root`; none where its repository is not seen itself.
    pub(crate) fn of(root: &OwnedFd, hidden: &Hidden) -> Templates {
        let mut known = HashMap::new();
        if let Some(index) = hidden.shows_git().then(|| Index::read(root)).flatten() {
            index.each(|entry| {
                let name = entry.name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                if is_template(&name.to_ascii_lowercase()) {
                    known.insert(entry.name.to_vec(), entry.hash.to_vec());
                }
            });
        }
        Templates(known)
    }

    /// Whether Git has the file `name` of `dir`, which is `path` in the project, as it is.
    pub(crate) fn have(&self, dir: impl AsFd, path: &RelPath, name: &Name) -> bool {
        let Some(known) = self.0.get(path.as_bytes()).filter(|_| name.kind == FileType::RegularFile) else {
            return false;
        };
        let file = beneath::open_file(dir, &name.name).map(std::fs::File::from);
        let is_file = |file: &std::fs::File| file.metadata().is_ok_and(|about| about.is_file());
        let content = file.ok().filter(is_file).and_then(|file| read_up_to(&file, CONTENT_LIMIT).ok());
        content.is_some_and(|content| {
            (content.len() as u64) < CONTENT_LIMIT && blob(&content, known.len()).as_ref() == Some(known)
        })
    }
}

/// Git's name of a content, by the length of its names in bytes.
fn blob(content: &[u8], length: usize) -> Option<Vec<u8>> {
    let algorithm = match length {
        20 => &SHA1_FOR_LEGACY_USE_ONLY,
        32 => &SHA256,
        _ => return None,
    };
    let mut hash = Context::new(algorithm);
    hash.update(format!("blob {}\0", content.len()).as_bytes());
    hash.update(content);
    Some(hash.finish().as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_known_by_its_name() {
        for name in [
            ".env.example",
            ".env.sample",
            ".env-template",
            ".env_dist",
            ".env.production.example",
            "example.env",
            ".sample.env",
            "prod.template.env",
            ".dev.vars.example",
        ] {
            assert!(is_template(name.as_bytes()), "{name}");
        }
        for name in [
            ".env",
            ".env.local",
            ".env.example.local",
            ".env.example~",
            ".env.examples",
            ".envexample",
            "prod.env",
            ".example.env.bak",
            "example",
            ".dev.vars",
        ] {
            assert!(!is_template(name.as_bytes()), "{name}");
        }
    }
}
