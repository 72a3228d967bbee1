//! The figures of live sandboxes for other processes of the same user: `wflo runs show` in another terminal.
//!
//! A socket beside the engine's lock, in a folder that nobody else may enter. Whoever connects is written one
//! JSON document and nothing is read from it, so nobody can ask for anything else.

use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use wflo_core::id::EngineId;

use super::{Live, LiveSandboxes};

/// How long a reader may take, and an engine to answer.
const DEADLINE: Duration = Duration::from_millis(500);

/// The most that is read of an answer, in bytes.
const MOST: u64 = 4 << 20;

/// The socket of one engine. Dropping it removes its name.
#[derive(Debug)]
pub(crate) struct Outside {
    listener: tokio::net::UnixListener,
    path: PathBuf,
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("engines")
}

/// Gives a socket's name to `then` by way of its folder's descriptor: an address holds 107 bytes, a path more.
fn near<T>(folder: &Path, name: &str, then: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let folder = std::fs::File::open(folder)?;
    then(&PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())))
}

impl Outside {
    /// Listens as this engine, and removes the names that dead ones have left. The engine holds its lock.
    pub(crate) fn open(data_dir: &Path, engine: EngineId) -> io::Result<Outside> {
        let folder = folder(data_dir);
        for entry in std::fs::read_dir(&folder)?.flatten() {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".sock")?.parse::<EngineId>().ok());
            if let Some(id) = id
                && wflo_store::lock::holder(data_dir, id)?.is_none()
            {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        let name = format!("{engine}.sock");
        let listener = near(&folder, &name, |path| UnixListener::bind(path))?;
        let path = folder.join(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Outside { listener: tokio::net::UnixListener::from_std(listener)?, path })
    }

    /// Answers for as long as the process drives runs.
    pub(crate) async fn answer(self, live: Arc<LiveSandboxes>) {
        loop {
            let Ok((mut stream, _)) = self.listener.accept().await else {
                // Out of descriptors: the next may do better.
                tokio::time::sleep(DEADLINE).await;
                continue;
            };
            let Ok(text) = serde_json::to_vec(&live.all()) else { continue };
            // One after another: who does not read keeps others waiting for no longer than this.
            drop(tokio::time::timeout(DEADLINE, stream.write_all(&text)).await);
        }
    }
}

/// What the sandboxes of a live engine take now; nothing when it does not say. Blocks, for a second at most.
pub fn ask(data_dir: &Path, engine: EngineId) -> Vec<Live> {
    read(data_dir, engine).unwrap_or_default()
}

fn read(data_dir: &Path, engine: EngineId) -> io::Result<Vec<Live>> {
    let mut stream = near(&folder(data_dir), &format!("{engine}.sock"), |path| UnixStream::connect(path))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut text = Vec::new();
    stream.by_ref().take(MOST).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
