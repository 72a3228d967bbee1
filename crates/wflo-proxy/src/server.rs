//! The server: what stands between a socket and the gateway.
//!
//! Owns the life of the process: start, settings read anew, drain. Connections are `connection`'s, who
//! may call is `admission`'s.

mod admission;
mod browser;
mod connection;
mod itself;
mod tls;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use wflo_core::error::{Code, Coded};
use wflo_core::ports::store::StoreError;
use wflo_core::slice::Alert;
use wflo_gateway::cache::{Cache, CacheSettings};
use wflo_gateway::counts::Counts;
use wflo_gateway::route::Routes;
use wflo_gateway::{Deadlines, Gateway, Limits};

use self::tls::{Certificate, TlsError};
use crate::accounts::Directory;
use crate::keys::Keys;
use crate::ledger::{Patience, Queues, SliceLedger};
use crate::metrics::Metrics;
use crate::rules::Rules;
use crate::treasury::{Running, Treasury, TreasuryError, TreasuryOptions};

pub use self::browser::Browsers;
pub use self::tls::TlsFiles;

/// What can change while the gateway runs.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Providers and prices.
    pub routes: Routes,
    /// Limits.
    pub rules: Rules,
    /// What browsers may ask where no key is wanted.
    pub browsers: Browsers,
    /// Answers that are given again; none where nothing is said.
    pub cache: Option<CacheSettings>,
}

/// What happens, for whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A budget has passed a threshold.
    Alert(Alert),
    /// Keys were made: from now on one is wanted.
    KeysWanted,
}

/// How a gateway is served.
pub struct ServerOptions {
    /// Where.
    pub listener: std::net::TcpListener,
    /// Certificate and key; without, it is plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Others may reach it without TLS: what stands before it speaks that.
    pub plain: bool,
    /// Where its money is.
    pub treasury: TreasuryOptions,
    /// What it begins with.
    pub config: Config,
    /// How long a call waits for room that running calls may free.
    pub room: Duration,
    /// How long everything else is waited for.
    pub deadlines: Deadlines,
    /// Is told what happens. Must not block.
    pub notice: Arc<dyn Fn(Notice) + Send + Sync>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The store or the log failed.
    #[error(transparent)]
    Treasury(#[from] TreasuryError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The certificate or its key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The socket.
    #[error("{address} cannot be listened on: {source}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// A provider is the gateway itself.
    #[error(
        "the provider `{provider}` is at {address}, which is this gateway itself: every call would come back to it"
    )]
    Itself {
        /// The provider.
        provider: String,
        /// The variable that names its address where `wflo.toml` does not.
        variable: &'static str,
        /// Where the gateway listens.
        address: SocketAddr,
    },
    /// Others could reach it, and could read what is sent.
    #[error(
        "{address} can be reached from other machines, and no certificate is given: keys and prompts would be sent in clear"
    )]
    InClear {
        /// Where.
        address: SocketAddr,
    },
    /// Others could reach it, and there is no key.
    #[error("{address} can be reached from other machines, and there is no key: anybody could call")]
    ForAnybody {
        /// Where.
        address: SocketAddr,
    },
}

impl Coded for ProxyError {
    fn code(&self) -> Code {
        match self {
            ProxyError::Treasury(TreasuryError::Store(error)) | ProxyError::Store(error) => error.code(),
            ProxyError::Treasury(TreasuryError::File { .. }) => Code(4069),
            ProxyError::Tls(_) => Code(4071),
            ProxyError::Listen { .. } => Code(4072),
            ProxyError::InClear { .. } | ProxyError::ForAnybody { .. } => Code(4070),
            ProxyError::Itself { .. } => Code(4130),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            ProxyError::Treasury(TreasuryError::Store(error)) | ProxyError::Store(error) => {
                return error.hint();
            }
            ProxyError::Treasury(TreasuryError::File { .. }) => {
                "Free some space, or name another folder with --data-dir.".to_owned()
            }
            ProxyError::Tls(_) => {
                "Give PEM files: --tls-cert with the certificate and its chain, --tls-key with its private key."
                    .to_owned()
            }
            ProxyError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrNotAvailable => {
                "It is no address of this machine: 0.0.0.0 stands for all that it has, 127.0.0.1 for itself alone.".to_owned()
            }
            ProxyError::Listen { .. } => {
                "Another program may listen there; --listen 127.0.0.1:0 takes any free port.".to_owned()
            }
            ProxyError::Itself { provider, variable, .. } => format!(
                "{variable} is for the gateway's clients: unset it where the gateway starts, or write the provider's own address as base_url under [providers.{provider}] in wflo.toml."
            ),
            ProxyError::ForAnybody { .. } => {
                "Make a key first: `wflo keys create --name NAME`. Or listen on 127.0.0.1.".to_owned()
            }
            ProxyError::InClear { .. } => {
                "Add --tls-cert FILE and --tls-key FILE. Where TLS ends before the gateway (an ingress, a load balancer, a container's published port): --plain-http."
                    .to_owned()
            }
        })
    }
}

/// What all connections share.
pub(crate) struct Shared {
    gateway: RwLock<Gateway>,
    /// Gateways of earlier settings: their calls run on.
    earlier: Mutex<Vec<Gateway>>,
    keys: RwLock<Arc<Keys>>,
    browsers: RwLock<Arc<Browsers>>,
    ledger: Arc<SliceLedger>,
    treasury: Arc<Treasury>,
    metrics: Arc<Metrics>,
    /// Loopback: anybody may call as long as there is no key.
    open: bool,
    deadlines: Deadlines,
    draining: watch::Sender<bool>,
    notice: Arc<dyn Fn(Notice) + Send + Sync>,
}

impl Shared {
    fn gateway(&self) -> Gateway {
        self.gateway.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn browsers(&self) -> Arc<Browsers> {
        Arc::clone(&self.browsers.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the keys anew.
    async fn read_keys(&self) -> Result<(), StoreError> {
        let rows = self.treasury.options.store.keys().await?;
        let before = self.keys();
        let keys = Keys::new(rows, self.open, &before);
        if before.is_open() && !keys.is_open() {
            (self.notice)(Notice::KeysWanted);
        }
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }
}

/// A gateway that serves.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    tls: Option<Certificate>,
    running: Running,
    accepting: JoinHandle<()>,
    watching: JoinHandle<()>,
}

impl Server {
    /// Starts to serve.
    ///
    /// # Errors
    /// [`ProxyError`]; nothing is served then.
    pub async fn start(options: ServerOptions) -> Result<Server, ProxyError> {
        let ServerOptions { listener, tls, plain, treasury, config, room, deadlines, notice } = options;
        let unknown = |source| ProxyError::Listen { address: "the listener".to_owned(), source };
        let address = listener.local_addr().map_err(unknown)?;
        let open = address.ip().is_loopback();
        let keys = Keys::new(treasury.store.keys().await?, open, &Keys::default());
        itself::check(&config.routes, address)?;
        if !open && tls.is_none() && !plain {
            return Err(ProxyError::InClear { address });
        }
        if !open && !keys.has_a_good_one(treasury.clock.now()) {
            return Err(ProxyError::ForAnybody { address });
        }
        let tls = tls.map(Certificate::read).transpose()?;
        listener.set_nonblocking(true).map_err(unknown)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(unknown)?;
        let clock = Arc::clone(&treasury.clock);
        let standing = treasury.store.standing_budgets().await?;
        let running = Treasury::start(treasury).await?;
        let metrics = Arc::new(Metrics::default());
        let ledger = Arc::new(SliceLedger {
            treasury: Arc::clone(&running.treasury),
            directory: RwLock::new(Arc::new(Directory::new(config.rules, standing))),
            queues: Queues::default(),
            clock,
            metrics: Arc::clone(&metrics),
            patience: Patience { room },
        });
        let shared = Arc::new(Shared {
            gateway: RwLock::new(gateway(
                config.routes,
                &ledger,
                deadlines,
                Arc::default(),
                cache(config.cache, None, &ledger),
            )),
            earlier: Mutex::default(),
            keys: RwLock::new(Arc::new(keys)),
            browsers: RwLock::new(Arc::new(config.browsers)),
            treasury: Arc::clone(&running.treasury),
            ledger,
            metrics,
            open,
            deadlines,
            draining: watch::Sender::new(false),
            notice,
        });
        let accepting = tokio::spawn(connection::accept(
            Arc::clone(&shared),
            listener,
            tls.as_ref().map(Certificate::current),
        ));
        let watching = tokio::spawn(watch_store(Arc::clone(&shared)));
        Ok(Server { shared, address, tls, running, accepting, watching })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether anybody may call, because there is no key.
    pub fn is_open(&self) -> bool {
        self.shared.keys().is_open()
    }

    /// Serves further connections with the certificate that is there now; whether it is another one.
    ///
    /// # Errors
    /// When it cannot be used: the one from before stays.
    pub fn renew_certificate(&self) -> Result<bool, ProxyError> {
        Ok(self.tls.as_ref().map_or(Ok(false), Certificate::renew)?)
    }

    /// Serves further calls with these settings; calls under way end with theirs.
    ///
    /// # Errors
    /// When a provider is the gateway itself, and nothing is changed; when the store does not take the limits,
    /// which are tried again at the next call.
    pub async fn reload(&self, config: Config) -> Result<(), ProxyError> {
        itself::check(&config.routes, self.address)?;
        let (before, ledger) = (self.shared.gateway(), &self.shared.ledger);
        let (counts, cache) = (Arc::clone(before.counts()), cache(config.cache, before.cache(), ledger));
        let next = gateway(config.routes, ledger, self.shared.deadlines, counts, cache);
        let before = std::mem::replace(
            &mut *self.shared.gateway.write().unwrap_or_else(PoisonError::into_inner),
            next,
        );
        self.shared.earlier.lock().unwrap_or_else(PoisonError::into_inner).push(before);
        *self.shared.browsers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config.browsers);
        Ok(self.shared.ledger.limit(config.rules).await?)
    }

    /// Takes no new call, lets those under way end for at most `patience`, and brings everything into
    /// the store. Calls that take longer lose their connection, and are charged in full by whoever comes next.
    pub async fn drain(self, patience: Duration) {
        let Server { shared, running, accepting, watching, .. } = self;
        shared.draining.send_replace(true);
        shared.ledger.queues.end();
        let calls = async {
            let _ = accepting.await;
            let earlier = std::mem::take(&mut *shared.earlier.lock().unwrap_or_else(PoisonError::into_inner));
            for gateway in earlier {
                gateway.shutdown().await;
            }
            shared.gateway().shutdown().await;
        };
        if tokio::time::timeout(patience, calls).await.is_err() {
            tracing::warn!(calls = shared.treasury.spending().running(), "calls were cut off");
        }
        watching.abort();
        let _ = watching.await;
        running.stop().await;
    }
}

fn gateway(
    routes: Routes,
    ledger: &Arc<SliceLedger>,
    deadlines: Deadlines,
    counts: Arc<Counts>,
    cache: Option<Cache>,
) -> Gateway {
    let limits = Limits { connections: connection::MOST, ..Limits::default() };
    Gateway::counting(routes, Arc::clone(ledger) as _, deadlines, limits, counts, cache)
}

/// The cache of these settings: the present one, with what it holds, unless they have changed.
fn cache(
    settings: Option<CacheSettings>,
    present: Option<&Cache>,
    ledger: &Arc<SliceLedger>,
) -> Option<Cache> {
    let settings = settings?;
    let same = present.filter(|present| *present.settings() == settings).cloned();
    Some(same.unwrap_or_else(|| Cache::new(settings, Arc::clone(&ledger.clock))))
}

/// Reads keys anew whenever the store has changed, and passes alerts on.
async fn watch_store(shared: Arc<Shared>) {
    let (mut changes, mut alerts) = (shared.treasury.changes(), shared.treasury.alerts());
    loop {
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                if let Err(error) = shared.read_keys().await {
                    // The keys that are known stay good: a store that fails is said elsewhere.
                    tracing::warn!(%error, "the keys could not be read anew");
                }
                if let Err(error) = shared.ledger.look().await {
                    tracing::warn!(%error, "the standing budgets could not be read anew");
                }
            }
            alert = alerts.recv() => {
                if let Ok(alert) = alert {
                    (shared.notice)(Notice::Alert(alert));
                }
            }
        }
    }
}
