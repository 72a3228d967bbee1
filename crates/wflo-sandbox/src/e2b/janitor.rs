//! Sandboxes of dead engines, which a cloud is paid for.
//!
//! Each says in its metadata whose it is: a name for the store and this machine, and the engine's own. One whose
//! engine does not live ([`life`]) ends by itself soon, because nobody gives it time; it is ended at once by the
//! next engine of the store.
//!
//! A copy of a store, or the same path in another container, is another store: its name is made of what was
//! drawn for it, of the machine and of the path.

use super::api::{Api, ENGINE, Listed, STORE};
use super::error::Error;
use crate::remote::life::{self, lives};
use crate::workspace::Store;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How many are on a page, and how many pages are looked at: a cloud could go on for ever.
const PAGE: usize = 100;
const PAGES: usize = 50;
/// For how long sandboxes are ended at an engine's start, which waits for it.
const SWEEP: Duration = Duration::from_secs(20);

/// A name for a store, which tells a cloud nothing about it.
pub(super) fn name_of(store: &Store) -> io::Result<String> {
    let drawn = drawn(store)?;
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let root = store.root().canonicalize().unwrap_or_else(|_| store.root().to_owned());
    let mut hasher = blake3::Hasher::new();
    for part in [drawn.trim(), machine.trim(), &rustix::system::uname().nodename().to_string_lossy()] {
        hasher.update(part.as_bytes()).update(b"\0");
    }
    hasher.update(root.as_os_str().as_encoded_bytes());
    Ok(hasher.finalize().to_hex().get(..32).unwrap_or_default().to_owned())
}

/// What was drawn for a store, once: whoever comes second reads what the first has written.
fn drawn(store: &Store) -> io::Result<String> {
    let place = life::folder(store).join("name");
    for _ in 0..3 {
        match std::fs::read_to_string(&place) {
            Ok(text) if !text.trim().is_empty() => return Ok(text),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = tempfile::NamedTempFile::new_in(life::folder(store))?;
        std::fs::write(file.path(), uuid::Uuid::now_v7().to_string())?;
        match file.persist_noclobber(&place) {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.error),
        }
    }
    std::fs::read_to_string(&place)
}

/// Ends what dead engines of this store have left; gives how many that were. What there is no time for is left to
/// the next engine, and to the end of its own time.
///
/// # Errors
/// That the cloud lists none.
pub(super) async fn sweep(api: &Api, store: &Store, name: &str) -> Result<usize, Error> {
    let folder = life::folder(store);
    let mut ended = 0;
    let first = api.page((STORE, name), PAGE, None).await?;
    if tokio::time::timeout(SWEEP, end_all(api, &folder, name, first, &mut ended)).await.is_err() {
        tracing::info!(ended, "sandboxes of engines that are gone are left to the end of their time");
    }
    life::sweep(&folder);
    Ok(ended)
}

async fn end_all(
    api: &Api,
    folder: &Path,
    name: &str,
    first: (Vec<Listed>, Option<String>),
    ended: &mut usize,
) {
    let (mut page, mut next) = first;
    for _ in 0..PAGES {
        for listed in page {
            let metadata = listed.metadata.unwrap_or_default();
            // What a cloud lists is not taken for this store's because it is listed.
            let ours = metadata.get(STORE).is_some_and(|store| store == name);
            let engine = metadata.get(ENGINE).filter(|_| ours);
            if engine.is_none_or(|engine| lives(folder, engine)) {
                continue;
            }
            // What cannot be ended is ended by its time, and holds up nobody.
            match api.end(&listed.id).await {
                Ok(()) => *ended += 1,
                Err(error) => tracing::warn!(%error, "a sandbox of an engine that is gone was not ended"),
            }
        }
        let Some(at) = next else { return };
        match api.page((STORE, name), PAGE, Some(&at)).await {
            Ok(more) => (page, next) = more,
            Err(error) => {
                tracing::warn!(%error, "not all sandboxes of a cloud were listed");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::life::Life;

    #[test]
    fn a_store_keeps_its_name_and_a_copy_has_another() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (store, copy) = (Store::open(one.path()).unwrap(), Store::open(other.path()).unwrap());
        let (_first, _second) = (Life::begin(&store).unwrap(), Life::begin(&copy).unwrap());
        let name = name_of(&store).unwrap();
        assert_eq!(name_of(&store).unwrap(), name);
        std::fs::copy(life::folder(&store).join("name"), life::folder(&copy).join("name")).unwrap();
        assert_ne!(name_of(&copy).unwrap(), name, "the same draw elsewhere");
        life::sweep(&life::folder(&store));
        assert_eq!(name_of(&store).unwrap(), name, "sweeping locks leaves the name");
    }
}
