//! The listener: connections from one sandbox, one request after the other.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::ask::Asker;
use crate::dial::dial;
use crate::forward::{self, Along, Served};
use crate::host::Target;
use crate::inspect::Inspection;
use crate::limits::{Allowance, Bucket, Limits, Totals};
use crate::refusal::Refusal;
use crate::request::head::{self, HeadError};
use crate::request::{Request, RequestError};
use crate::resolve::Resolver;
use crate::rules::{Denied, Rule, Rules};
use crate::secrets::Secrets;
use crate::tunnel;
use crate::witness::Witness;

/// The longest head of a request.
const HEAD: usize = 16 << 10;
/// Clients that are served or refused at once, beside connections to other hosts.
const REFUSED_AT_ONCE: usize = 64;
/// Clients that are taken in at once, and in a minute after that, at least: what is refused costs this host time, too.
const TAKEN_IN: (u32, u32) = (256, 12_000);
/// How long a client that was refused has to read why.
const LAST_WORD: Duration = Duration::from_secs(2);
/// How much of what it goes on sending is read meanwhile.
const UNREAD: usize = 256 << 10;

/// What lets connections out of one sandbox.
pub struct Egress {
    /// What may be reached; what changes counts for connections from then on, and what people keep out ends
    /// those that are open.
    pub rules: watch::Receiver<Arc<Rules>>,
    /// Who is asked about hosts that no rule names; nobody where there is none.
    pub asker: Option<Arc<dyn Asker>>,
    /// With what TLS is ended and secrets are put in; `None` where no request of TLS is seen.
    pub inspection: Option<Arc<Inspection>>,
    /// How much of it.
    pub limits: Limits,
    /// And what is left of what is counted in all, which other sandboxes may share.
    pub totals: Arc<Totals>,
    /// Who knows what names stand for.
    pub resolver: Arc<dyn Resolver>,
    /// Who is told.
    pub witness: Arc<dyn Witness>,
}

pub(crate) struct Shared {
    pub(crate) rules: watch::Receiver<Arc<Rules>>,
    pub(crate) asker: Option<Arc<dyn Asker>>,
    pub(crate) inspection: Option<Arc<Inspection>>,
    pub(crate) limits: Limits,
    pub(crate) allowance: Arc<Allowance>,
    pub(crate) witness: Arc<dyn Witness>,
    resolver: Arc<dyn Resolver>,
    ids: AtomicU64,
}

impl Shared {
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) async fn dial(&self, target: &Target) -> Result<TcpStream, Refusal> {
        dial(self.resolver.as_ref(), &self.rules(), target, &self.limits).await
    }

    /// The secrets of the sandbox.
    pub(crate) fn secrets(&self) -> Option<&Secrets> {
        self.inspection.as_deref().map(Inspection::secrets)
    }

    /// What may be reached now.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.borrow())
    }

    /// The rules about `target`, to be asked for before it is judged.
    pub(crate) fn about(&self, target: &Target) -> Vec<Rule> {
        self.rules().about(target).cloned().collect()
    }

    /// Resolves once people keep `target` out, or the rules about it, which were `began`, are others.
    pub(crate) async fn kept_out(&self, target: &Target, began: &[Rule]) -> Refusal {
        let mut rules = self.rules.clone();
        let are_others = |rules: &Rules| {
            // In whatever order: it means nothing.
            let now = rules.about(target).collect::<Vec<_>>();
            now.len() != began.len() || !began.iter().all(|rule| now.contains(&rule))
        };
        let ended = rules.wait_for(|rules| rules.keep_out(target) || are_others(rules)).await;
        let why = match ended.map(|rules| rules.keep_out(target)) {
            Ok(true) => Denied::Said,
            Ok(false) => Denied::Changed,
            // Nobody changes them any more.
            Err(_) => std::future::pending().await,
        };
        Refusal::Denied { target: target.clone(), why }
    }
}

/// A listener that is being served. Dropping it ends it at once.
#[derive(Debug)]
pub struct EgressHandle {
    stop: watch::Sender<bool>,
    hold: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl EgressHandle {
    /// Ends every connection and accepts none, until it is held no longer.
    pub fn hold(&self, held: bool) {
        self.hold.send_replace(held);
    }

    /// Ends every connection, and waits until each has told its witness so.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for EgressHandle {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Egress {
    /// Serves every connection of `listener`, until the handle is stopped or dropped. Must be called within a
    /// Tokio runtime.
    ///
    /// # Errors
    /// When the listener cannot be made non-blocking or registered.
    pub fn serve(self, listener: std::net::TcpListener) -> io::Result<EgressHandle> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (stop, stopped) = watch::channel(false);
        let (hold, held) = watch::channel(false);
        let shared = Arc::new(Shared {
            allowance: Arc::new(Allowance::new(&self.limits, self.totals)),
            rules: self.rules,
            asker: self.asker,
            inspection: self.inspection,
            limits: self.limits,
            witness: self.witness,
            resolver: self.resolver,
            ids: AtomicU64::new(0),
        });
        Ok(EgressHandle { stop, hold, task: Some(tokio::spawn(accept(shared, listener, stopped, held))) })
    }
}

async fn accept(
    shared: Arc<Shared>,
    listener: tokio::net::TcpListener,
    mut stopped: watch::Receiver<bool>,
    mut held: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(shared.limits.connections as usize + REFUSED_AT_ONCE));
    let Limits { connections, per_minute, .. } = shared.limits;
    // A few more than may be let through, so that what is too much is told so.
    let pace = Bucket::new((connections * 4).max(TAKEN_IN.0), (per_minute * 10).max(TAKEN_IN.1));
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Ok(_) = held.wait_for(|held| *held) => None,
            accepted = listener.accept() => Some(accepted),
        };
        let Some(accepted) = accepted else {
            clients.shutdown().await;
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => break,
                _ = held.wait_for(|held| !*held) => continue,
            }
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, or a connection that died in the queue: the next may do better.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        while !pace.take() && !*stopped.borrow() && !*held.borrow() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Who opens more than can be answered is answered by an end.
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        clients.spawn(async move {
            client(&shared, stream).await;
            drop(slot);
        });
    }
    drop(listener);
    clients.shutdown().await;
}

async fn client(shared: &Shared, mut stream: TcpStream) {
    let mut buffer = BytesMut::new();
    let mut is_first = true;
    loop {
        let request = match next_request(shared, &mut stream, &mut buffer, is_first, Request::parse).await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(refusal) => {
                shared.witness.refused(None, &refusal);
                close_after(stream, &unasked(&refusal, &buffer)).await;
                return;
            }
        };
        match request {
            Request::Connect(target) => {
                tunnel::serve(shared, stream, buffer, target).await;
                return;
            }
            Request::Forward(asked) => {
                match forward::serve(shared, &mut stream, &mut buffer, *asked, Along::Plain).await {
                    Served::Kept => is_first = false,
                    Served::Closed => return,
                    Served::Refused(refusal) => {
                        close_after(stream, &refusal.answer()).await;
                        return;
                    }
                }
            }
        }
    }
}

/// The next request, whose head is taken out of `buffer` and read by `parse`; `None` when the client has gone.
pub(crate) async fn next_request<T>(
    shared: &Shared,
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    is_first: bool,
    parse: impl Fn(&[u8]) -> Result<T, RequestError>,
) -> Result<Option<T>, Refusal> {
    let read = async {
        let mut searched = 0_usize;
        loop {
            if let Some(first) = buffer.first() {
                head::begins(*first).map_err(RequestError::Head)?;
            }
            let mut unseen = buffer.windows(4).take(HEAD).skip(searched);
            if let Some(at) = unseen.position(|window| window == b"\r\n\r\n") {
                let head = buffer.split_to(searched + at + 4);
                return Ok(Some(parse(&head)?));
            }
            searched = buffer.len().saturating_sub(3);
            if buffer.len() >= HEAD {
                return Err(Refusal::Long);
            }
            buffer.reserve(4 << 10);
            match stream.read_buf(buffer).await {
                Ok(1..) => {}
                _ => return Ok(None),
            }
        }
    };
    match timeout(shared.limits.head, read).await {
        Ok(read) => read,
        // Nobody is waiting for an answer on a connection that is merely kept.
        Err(_) if !is_first && buffer.is_empty() => Ok(None),
        Err(_) => Err(Refusal::Slow),
    }
}

/// What is said to a client whose request was not read: in its own protocol, where that is known.
fn unasked(refusal: &Refusal, buffer: &[u8]) -> Vec<u8> {
    match (refusal, buffer.first()) {
        (Refusal::Request(RequestError::Head(HeadError::Socks)), Some(5)) => vec![5, 0xff],
        (Refusal::Request(RequestError::Head(HeadError::Socks)), _) => vec![0, 0x5b, 0, 0, 0, 0, 0, 0],
        (Refusal::Request(RequestError::Head(HeadError::Tls)), _) => tunnel::TLS_DENIED.to_vec(),
        _ => refusal.answer(),
    }
}

/// Says a last word, and reads on for a while: closing with something unread would take the word back.
pub(crate) async fn close_after(mut stream: impl AsyncRead + AsyncWrite + Unpin, word: &[u8]) {
    let close = async {
        if stream.write_all(word).await.is_err() || stream.shutdown().await.is_err() {
            return;
        }
        let (mut read, mut buffer) = (0, [0; 4 << 10]);
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            read += length;
            if read > UNREAD {
                return;
            }
        }
    };
    let _ = timeout(LAST_WORD, close).await;
}
