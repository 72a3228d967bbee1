//! A proxy, a host behind it, and everything that its witness was told.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use wflo_core::ports::BoxFuture;
use wflo_egress::ask::Asker;
use wflo_egress::host::Target;
use wflo_egress::inspect::Inspection;
use wflo_egress::resolve::Resolver;
use wflo_egress::rules::{Change, Rule};
use wflo_egress::witness::{Ended, Opening, Unrecorded, Witness};
use wflo_egress::{Egress, EgressHandle, Limits, Refusal, Rules, Totals};

/// Names as a test says.
#[derive(Default)]
pub(crate) struct Names {
    known: HashMap<String, Vec<IpAddr>>,
    /// Every name that was asked for, in order.
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Resolver for Names {
    fn resolve(&self, name: String) -> BoxFuture<'_, std::io::Result<Vec<IpAddr>>> {
        let found = self.known.get(&name).cloned().unwrap_or_default();
        self.asked.lock().unwrap().push(name);
        Box::pin(std::future::ready(Ok(found)))
    }
}

#[derive(Default)]
pub(crate) struct Book {
    pub(crate) opened: Mutex<Vec<Opening>>,
    pub(crate) ended: Mutex<Vec<Ended>>,
    pub(crate) refused: Mutex<Vec<(Option<String>, Refusal)>>,
    pub(crate) is_full: std::sync::atomic::AtomicBool,
    changed: Notify,
}

impl Witness for Book {
    fn opens<'a>(&'a self, opening: &'a Opening) -> BoxFuture<'a, Result<(), Unrecorded>> {
        if self.is_full.load(std::sync::atomic::Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(Unrecorded)));
        }
        self.opened.lock().unwrap().push(opening.clone());
        Box::pin(std::future::ready(Ok(())))
    }

    fn ended(&self, ended: Ended) {
        self.ended.lock().unwrap().push(ended);
        self.changed.notify_waiters();
    }

    fn refused(&self, target: Option<&Target>, refusal: &Refusal) {
        self.refused.lock().unwrap().push((target.map(ToString::to_string), refusal.clone()));
        self.changed.notify_waiters();
    }
}

pub(crate) struct World {
    pub(crate) proxy: std::net::SocketAddr,
    pub(crate) names: Arc<Names>,
    pub(crate) book: Arc<Book>,
    pub(crate) handle: Option<EgressHandle>,
    /// What may be reached, to be changed.
    pub(crate) rules: watch::Sender<Arc<Rules>>,
}

impl World {
    /// Rules; addresses that names may stand for; names.
    pub(crate) fn new(rules: &[String], addresses: &[&str], names: &[(&str, &[&str])]) -> World {
        World::limited(rules, addresses, names, Limits::default())
    }

    pub(crate) fn limited(
        rules: &[String],
        addresses: &[&str],
        names: &[(&str, &[&str])],
        limits: Limits,
    ) -> World {
        World::asking(rules, addresses, names, limits, None)
    }

    pub(crate) fn asking(
        rules: &[String],
        addresses: &[&str],
        names: &[(&str, &[&str])],
        limits: Limits,
        asker: Option<Arc<dyn Asker>>,
    ) -> World {
        World::whole((rules, addresses, names), limits, asker, None)
    }

    /// One that looks into TLS: of the hosts of which a rule names a part, and of those that are `seen`.
    pub(crate) fn looking(
        rules: &[String],
        addresses: &[&str],
        names: &[(&str, &[&str])],
        seen: &[String],
        inspection: &Arc<Inspection>,
        limits: Limits,
    ) -> World {
        let seen = seen.iter().map(|host| host.parse().unwrap()).collect();
        let inspection = Some((Arc::clone(inspection), seen));
        World::whole((rules, addresses, names), limits, None, inspection)
    }

    #[expect(clippy::type_complexity, reason = "what a test says of the world")]
    fn whole(
        (rules, addresses, names): (&[String], &[&str], &[(&str, &[&str])]),
        limits: Limits,
        asker: Option<Arc<dyn Asker>>,
        inspection: Option<(Arc<Inspection>, Vec<Rule>)>,
    ) -> World {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = listener.local_addr().unwrap();
        let known = names
            .iter()
            .map(|(name, found)| {
                ((*name).to_owned(), found.iter().map(|address| address.parse().unwrap()).collect())
            })
            .collect();
        let (names, book) = (Arc::new(Names { known, asked: Mutex::default() }), Arc::new(Book::default()));
        let addresses: Vec<String> = addresses.iter().map(|text| (*text).to_owned()).collect();
        let mut parsed = Rules::parse(rules, &addresses).unwrap();
        let (inspection, seen) = inspection.unzip();
        if let Some(seen) = seen {
            parsed = parsed.seeing(seen);
        }
        let (rules, seen) = watch::channel(Arc::new(parsed));
        let egress = Egress {
            rules: seen,
            asker,
            inspection,
            limits,
            totals: Arc::new(Totals::new(&limits)),
            resolver: Arc::clone(&names) as Arc<dyn Resolver>,
            witness: Arc::clone(&book) as Arc<dyn Witness>,
        };
        World { proxy, names, book, handle: Some(egress.serve(listener).unwrap()), rules }
    }

    /// Somebody says something of a host.
    pub(crate) fn change(&self, rule: &str, allowed: bool) {
        let change = Change { rule: rule.parse().unwrap(), allowed, is_answer: false };
        self.rules.send_modify(|rules| *rules = Arc::new(Rules::clone(rules).with([change])));
    }

    /// Other rules hold from now on.
    pub(crate) fn replace(&self, rules: &[String]) {
        let nets = vec!["127.0.0.1".to_owned(); usize::from(!rules.is_empty())];
        self.rules.send_replace(Arc::new(Rules::parse(rules, &nets).unwrap()));
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.proxy).await.unwrap()
    }

    /// What the proxy says to these bytes, until it closes.
    pub(crate) async fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        let mut said = Vec::new();
        within(stream.read_to_end(&mut said)).await.unwrap();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Waits for so many ends of connections.
    pub(crate) async fn ends(&self, count: usize) -> Vec<Ended> {
        within(async {
            loop {
                let changed = self.book.changed.notified();
                let ended = self.book.ended.lock().unwrap().clone();
                if ended.len() >= count {
                    return ended;
                }
                changed.await;
            }
        })
        .await
    }
}

/// A condition has a deadline, which only a failing test meets.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), future).await.expect("it hangs")
}

/// A host that answers every connection with `answer` once its request's head has arrived, and tells what it
/// was sent until then.
pub(crate) async fn host(answer: &'static str) -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
                    if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                // A body that came along, as far as it says how long it is.
                let text = String::from_utf8_lossy(&seen).into_owned();
                let length = text
                    .lines()
                    .find_map(|l| l.strip_prefix("content-length: "))
                    .map_or(0, |l| l.parse().unwrap());
                let head = text.find("\r\n\r\n").unwrap() + 4;
                let chunked = text.contains("transfer-encoding: chunked");
                while seen.len() < head + length || chunked && !seen.ends_with(b"0\r\n\r\n") {
                    if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                tell.send(String::from_utf8_lossy(&seen).into_owned()).unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
        }
    });
    (port, told)
}

/// A host that sends back whatever it gets.
pub(crate) async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    port
}
