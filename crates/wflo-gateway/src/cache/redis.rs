//! Answers in a Redis that processes share.
//!
//! Owns the one connection and what is done while there is none. **Architecture Invariant:** no call waits for
//! Redis longer than the settings say, whatever Redis does; after it failed, no call waits for it at all for a
//! while. What it holds may be written by others: no more of a value is read than one of ours can have.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use crate::secret::Secret;

/// How long Redis is left alone after it failed.
const REST: Duration = Duration::from_secs(1);

/// How long a connection may take to be made; calls do not wait for that.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer may take to be written; nobody waits for that either.
const WRITE: Duration = Duration::from_secs(2);

/// Answers that may be on their way at a time: more are not kept.
const WRITES: usize = 64;

/// Where a Redis is, with the password in it. `Debug` and `Display` show neither user nor password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    url: String,
    shown: String,
    password: Option<Secret>,
}

/// An address that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the address of a Redis: redis://HOST:PORT/DB, rediss://… for TLS, or redis+unix:///PATH")]
pub struct BadAddress;

/// A Redis that does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the Redis at {address} does not answer: {reason}")]
pub struct Unanswering {
    /// Where it is.
    pub address: String,
    /// What happened.
    pub reason: String,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// [`BadAddress`], which holds nothing of the text.
    pub fn parse(url: &str) -> Result<Address, BadAddress> {
        let (scheme, rest) = url.split_once("://").ok_or(BadAddress)?;
        if !matches!(scheme, "redis" | "rediss" | "redis+unix") || rest.contains('#') {
            return Err(BadAddress);
        }
        // Of a socket it says user and password; elsewhere it says nothing that is read, and might hold them.
        if scheme != "redis+unix" && rest.contains('?') {
            return Err(BadAddress);
        }
        let client = Client::open(url).map_err(|_| BadAddress)?;
        let password = client.get_connection_info().redis_settings().password().and_then(Secret::new);
        let (before, after) = rest.split_once('/').unwrap_or((rest, ""));
        let host = before.rsplit_once('@').map_or(before, |(_, host)| host);
        // A query of a socket's address may hold a password, too.
        let path = after.split('?').next().unwrap_or_default();
        Ok(Address { url: url.to_owned(), shown: format!("{scheme}://{host}/{path}"), password })
    }

    /// Asks whether it is there, within a time.
    ///
    /// # Errors
    /// [`Unanswering`], with why.
    pub async fn ping(&self, within: Duration) -> Result<(), Unanswering> {
        let failed =
            |reason: String| Unanswering { address: self.shown.clone(), reason: self.redact(reason) };
        let asked = async {
            let mut connection = self.connect(within).await?;
            redis::cmd("PING").query_async::<()>(&mut connection).await
        };
        match timeout(within, asked).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("nothing came within {} ms", within.as_millis()))),
        }
    }

    async fn connect(&self, within: Duration) -> Result<MultiplexedConnection, RedisError> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(within)).set_response_timeout(None);
        Client::open(self.url.as_str())?.get_multiplexed_async_connection_with_config(&config).await
    }

    fn redact(&self, text: String) -> String {
        match &self.password {
            Some(password) => password.redact(text),
            None => text,
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Address({})", self.shown)
    }
}

/// How things stand with the connection.
#[derive(Clone)]
enum Link {
    /// Nobody has asked for one.
    Unasked,
    /// It is being made.
    Connecting,
    Up(MultiplexedConnection),
    /// It failed, and is not tried again before this.
    Resting(Instant),
}

pub(super) struct Redis {
    address: Address,
    patience: Duration,
    link: watch::Sender<Link>,
    connecting: Mutex<Option<AbortHandle>>,
    writes: Arc<Semaphore>,
    troubles: Arc<Troubles>,
}

/// What went wrong: how often, and whether it was said.
#[derive(Default)]
struct Troubles {
    failing: AtomicBool,
    count: AtomicU64,
}

impl Troubles {
    /// Counts a failure, and says the first of a row.
    fn failed(&self, address: &Address, reason: &str) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %address, reason = address.redact(reason.to_owned()),
                "Redis does not do what it is asked: answers are neither kept there nor taken from it until it does"
            );
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let connecting = self.connecting.get_mut().unwrap_or_else(PoisonError::into_inner);
        connecting.take().iter().for_each(AbortHandle::abort);
    }
}

impl Redis {
    pub(super) fn new(address: Address, patience: Duration) -> Redis {
        Redis {
            address,
            patience,
            link: watch::Sender::new(Link::Unasked),
            connecting: Mutex::default(),
            writes: Arc::new(Semaphore::new(WRITES)),
            troubles: Arc::default(),
        }
    }

    /// How often it did not do what it was asked.
    pub(super) fn failures(&self) -> u64 {
        self.troubles.count.load(Ordering::Relaxed)
    }

    /// The value, or as much of it as one of ours can have.
    pub(super) async fn get(&self, name: &str, most: usize) -> Option<Vec<u8>> {
        let asked = async {
            let mut connection = self.connection().await?;
            let mut command = redis::cmd("GETRANGE");
            command.arg(name).arg(0).arg(most);
            Some(command.query_async::<Vec<u8>>(&mut connection).await)
        };
        match timeout(self.patience, asked).await {
            Ok(Some(answer)) => self.judged(answer).filter(|value| !value.is_empty()),
            // There is no connection, which was counted when it failed.
            Ok(None) => None,
            Err(_) => {
                self.failed(&format!("it took longer than {} ms", self.patience.as_millis()), true);
                None
            }
        }
    }

    /// Writes a value; `false` when it was not.
    pub(super) async fn put(&self, name: &str, value: Vec<u8>, ttl: Duration) -> bool {
        let Ok(_slot) = Arc::clone(&self.writes).try_acquire_owned() else {
            self.troubles.count.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        let Some(mut connection) = self.connection().await else { return false };
        let mut command = redis::cmd("SET");
        command.arg(name).arg(value).arg("PX").arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        match timeout(WRITE, command.query_async::<()>(&mut connection)).await {
            Ok(answer) => self.judged(answer).is_some(),
            Err(_) => {
                self.failed(&format!("a write took longer than {} s", WRITE.as_secs()), true);
                false
            }
        }
    }

    /// The connection, once it is made; `None` while there is none.
    async fn connection(&self) -> Option<MultiplexedConnection> {
        let mut seen = self.link.subscribe();
        let first = self.link.send_if_modified(|link| {
            let wanted = match link {
                Link::Unasked => true,
                Link::Resting(until) => *until <= Instant::now(),
                Link::Connecting | Link::Up(_) => false,
            };
            if wanted {
                *link = Link::Connecting;
            }
            wanted
        });
        if first {
            self.begin();
        }
        let settled = seen.wait_for(|link| !matches!(link, Link::Connecting)).await.ok()?;
        match &*settled {
            Link::Up(connection) => Some(connection.clone()),
            _ => None,
        }
    }

    /// Makes the connection, whatever becomes of the call that asked first.
    fn begin(&self) {
        let (address, link, troubles) = (self.address.clone(), self.link.clone(), Arc::clone(&self.troubles));
        let task = tokio::spawn(async move {
            let made = match timeout(CONNECT, address.connect(CONNECT)).await {
                Ok(made) => made.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no connection within {} s", CONNECT.as_secs())),
            };
            match made {
                Ok(connection) => link.send_replace(Link::Up(connection)),
                Err(reason) => {
                    troubles.failed(&address, &reason);
                    link.send_replace(Link::Resting(Instant::now() + REST))
                }
            };
        });
        let before =
            self.connecting.lock().unwrap_or_else(PoisonError::into_inner).replace(task.abort_handle());
        drop(before);
    }

    /// What an answer is worth.
    fn judged<T>(&self, answer: Result<T, RedisError>) -> Option<T> {
        match answer {
            Ok(value) => {
                if self.troubles.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(address = %self.address, "Redis answers again: answers are kept there");
                }
                Some(value)
            }
            // A value of another kind under our name is somebody's, and no failure.
            Err(error) if error.code() == Some("WRONGTYPE") => None,
            Err(error) => {
                self.failed(&error.to_string(), error.is_unrecoverable_error() || error.is_io_error());
                None
            }
        }
    }

    /// Counts a failure, and says it once. `lost`: the connection is not used any more.
    fn failed(&self, reason: &str, lost: bool) {
        if lost {
            self.link.send_if_modified(|link| {
                let up = matches!(link, Link::Up(_));
                if up {
                    *link = Link::Resting(Instant::now() + REST);
                }
                up
            });
        }
        self.troubles.failed(&self.address, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_neither_user_nor_password() {
        for (url, shown) in [
            ("redis://h:1/2", "redis://h:1/2"),
            ("redis://user:s3cret-w0rd@h:1/2", "redis://h:1/2"),
            ("rediss://:s3cret-w0rd@h", "rediss://h/"),
            ("redis+unix:///run/r.sock?db=1&pass=s3cret-w0rd", "redis+unix:///run/r.sock"),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), format!("Address({shown})"));
        }
        let address = Address::parse("redis://user:s3cret-w0rd@h").unwrap();
        assert_eq!(address.redact("WRONGPASS s3cret-w0rd".to_owned()), "WRONGPASS [redacted]");
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_shown() {
        for url in [
            "",
            "h:1",
            "http://h",
            "redis:/h",
            "redis://user:s3cret@",
            "redis://h/x",
            "rediss://h#insecure",
            "redis://h:1?password=s3cret",
            "rediss://h:1/0?pass=s3cret",
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
