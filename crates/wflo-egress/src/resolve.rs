//! Names to addresses: once for a connection, by the proxy and never by its client.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;

use tokio::sync::Semaphore;
use wflo_core::ports::BoxFuture;

/// How many names one resolver asks about at once: each takes a thread for as long as name servers like.
pub const AT_ONCE: usize = 8;

/// Who knows what names stand for.
pub trait Resolver: Send + Sync + 'static {
    /// Every address of a name.
    ///
    /// # Errors
    /// When it has none, or nobody can be asked.
    fn resolve(&self, name: String) -> BoxFuture<'_, io::Result<Vec<IpAddr>>>;
}

/// The resolver of this host (`/etc/hosts`, DNS, and what else it is configured to ask).
#[derive(Debug)]
pub struct SystemResolver {
    slots: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        SystemResolver { slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Resolver for SystemResolver {
    fn resolve(&self, name: String) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(io::Error::other)?;
            let asked = tokio::task::spawn_blocking(move || {
                // Held until the name server has answered, not until somebody stops waiting for it.
                let _slot = slot;
                Ok((name.as_str(), 0).to_socket_addrs()?.map(|found| found.ip()).collect())
            });
            asked.await.map_err(io::Error::other)?
        })
    }
}
