//! Endpoints that the operator lets through without the gateway knowing what they do.
//!
//! Owns which paths those are, and the most that a call of each costs by the operator's word: nobody here
//! can bound it, so that word is held for every call and charged for every call whose usage is not told.

use wflo_core::money::NanoUsd;

use crate::dialect::target;

/// One path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passthrough {
    path: String,
    most: NanoUsd,
}

/// A path that cannot be let through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a path such as /images/generations or /files/*")]
pub struct NoPath;

impl Passthrough {
    /// The path under the provider's address, with its version or without; one that ends in `/*` stands for
    /// every longer one too.
    ///
    /// # Errors
    /// [`NoPath`] when it is none, or one that a server may resolve to another.
    pub fn new(path: &str, most: NanoUsd) -> Result<Passthrough, NoPath> {
        let path = target::version(path).1;
        let named = path.strip_suffix("/*").unwrap_or(path);
        if named.len() < 2 || !is_plain(named) || named.contains('*') {
            Err(NoPath)
        } else {
            Ok(Passthrough { path: path.to_owned(), most })
        }
    }

    /// The most that a call costs.
    pub fn most(&self) -> NanoUsd {
        self.most
    }

    /// Whether a request's path is this one.
    pub(crate) fn is(&self, suffix: &str) -> bool {
        let path = target::version(suffix).1;
        is_plain(path)
            && match self.path.strip_suffix('*') {
                Some(front) => path.len() > front.len() && path.starts_with(front),
                None => path == self.path,
            }
    }
}

/// Nothing in it stands for another path.
fn is_plain(path: &str) -> bool {
    path.starts_with('/')
        && !path.contains("//")
        && !path.contains("/.")
        && !path.contains(['%', '\\', ';', '?', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_that_was_named_is_let_through() {
        let named = |path| Passthrough::new(path, NanoUsd::ZERO).unwrap();
        for path in ["/images/generations", "/v1/images/generations"] {
            let named = named(path);
            assert!(named.is("/images/generations") && named.is("/v1/images/generations"));
            for other in [
                "/images",
                "/images/generations/x",
                "/images/generations/",
                "/images/../images/generations",
                "/images/%67enerations",
            ] {
                assert!(!named.is(other), "{other}");
            }
        }
        let files = named("/files/*");
        assert!(files.is("/files/f-1") && files.is("/files/f-1/content"));
        for other in ["/files", "/files/", "/filesystem/x", "/files/../batches", "/files//x"] {
            assert!(!files.is(other), "{other}");
        }
        for path in ["", "/", "/*", "/v1", "files", "/a/../b", "/a*b", "/a%2fb", "/a//b"] {
            assert!(Passthrough::new(path, NanoUsd::ZERO).is_err(), "{path}");
        }
    }
}
