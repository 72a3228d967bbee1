//! Files that are looked at while the gateway runs.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use wflo_proxy::{ProxyError, Server};

use crate::cli::GatewayArgs;

/// Some files, and what they were when they were looked at last.
pub(super) struct Watched {
    files: Vec<(PathBuf, Option<Seen>)>,
}

/// When it was written, how long it is, and which file it is behind whatever links.
type Seen = (SystemTime, u64, u64);

impl Watched {
    pub(super) fn new(files: impl IntoIterator<Item = PathBuf>) -> Watched {
        let seen = |file: PathBuf| {
            let now = look(&file);
            (file, now)
        };
        Watched { files: files.into_iter().map(seen).collect() }
    }

    pub(super) fn has_changed(&mut self) -> bool {
        let mut changed = false;
        for (file, seen) in &mut self.files {
            let now = look(file);
            // Whoever writes it anew may have it away for a moment.
            if now.is_some() && now != *seen {
                *seen = now;
                changed = true;
            }
        }
        changed
    }
}

fn look(file: &Path) -> Option<Seen> {
    let data = std::fs::metadata(file).ok()?;
    Some((data.modified().ok()?, data.len(), data.ino()))
}

/// The files of the certificate. They are two: between the first and the second they fit badly, which is no
/// mistake unless it stays so until the next look.
pub(super) struct Certificate {
    files: Watched,
    /// What is to be read again, and how often it did not fit.
    unfit: Option<u32>,
}

impl Certificate {
    pub(super) fn new(args: &GatewayArgs) -> Certificate {
        let files = args.tls_cert.iter().chain(&args.tls_key).cloned();
        Certificate { files: Watched::new(files), unfit: None }
    }

    /// Takes files over that have changed; `None` when there is nothing to say.
    pub(super) fn look(&mut self, server: &Server) -> Option<Result<bool, ProxyError>> {
        if self.files.has_changed() {
            self.unfit = Some(0);
        }
        let unfit = self.unfit?;
        match server.renew_certificate() {
            Err(_) if unfit == 0 => {
                self.unfit = Some(1);
                None
            }
            read => {
                self.unfit = None;
                Some(read)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_is_noticed_however_it_came_there_and_one_that_is_away_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("a"), "one").unwrap();
        std::fs::write(file("b"), "two").unwrap();
        std::os::unix::fs::symlink("a", file("link")).unwrap();
        let mut watched = Watched::new([file("link")]);
        assert!(!watched.has_changed());
        // As certificates are renewed: a link that leads elsewhere.
        std::fs::remove_file(file("link")).unwrap();
        assert!(!watched.has_changed());
        std::os::unix::fs::symlink("b", file("link")).unwrap();
        assert!(watched.has_changed() && !watched.has_changed());
        std::fs::write(file("b"), "three").unwrap();
        assert!(watched.has_changed());
    }
}
