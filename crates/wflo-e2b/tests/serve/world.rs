//! A server, and requests as bytes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use wflo_core::ports::clock::{Clock, Moment};
use wflo_core::size::{Bytes, MilliCpus};
use wflo_e2b::{Each, Keys, Server, ServerOptions};

const KEY: &str = "e2b_0123456789012345678901234567890123456789";

/// How long anything may take on a busy machine. No sandbox of a test ends in that time by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

struct Now;

impl Clock for Now {
    #[allow(clippy::disallowed_methods, reason = "sandboxes end in time")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn moment(&self) -> Moment {
        Moment { wall: self.now(), boot_ms: 0, boot_id: "boot".into() }
    }
    fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::nil()
    }
    fn draw(&self) -> f64 {
        0.0
    }
}

/// A server.
pub(crate) struct World {
    server: Server,
    address: SocketAddr,
    folder: TempDir,
}

impl World {
    /// One with room for so many sandboxes.
    pub(crate) async fn start(most: usize) -> World {
        let folder = tempfile::tempdir().unwrap();
        let each = Each {
            memory: Bytes(128 << 20),
            cpus: MilliCpus(1_000),
            pids: 64,
            disk: Bytes(16 << 20),
            preset: wflo_sandbox::Preset::Default,
            ro: Vec::new(),
            path: Vec::new(),
            hosts: Vec::new(),
            longest: Duration::from_secs(3_600),
        };
        let server = Server::start(ServerOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: None,
            keys: Keys::new([KEY]),
            each,
            most,
            memory: None,
            program: PathBuf::from(env!("CARGO_BIN_EXE_wflo-e2b-inside")),
            state: folder.path().join("serve"),
            clock: Arc::new(Now),
        });
        let server = server.await.expect("a server");
        World { address: server.address(), server, folder }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection on which a request with the key was sent.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &Value) -> TcpStream {
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Asks, and hangs up before there can be an answer.
    pub(crate) async fn leave(&self, method: &str, path: &str, body: &Value) {
        let stream = self.send(method, path, body).await;
        // The server is to have read it; how long that takes decides nothing but how often this is done.
        tokio::time::sleep(Duration::from_millis(2)).await;
        drop(stream);
    }

    /// The status and the message of an answer.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let mut answer = String::new();
        let mut stream = self.send(method, path, body).await;
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
        let status = head.split(' ').nth(1).expect("a status").parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    /// The names of those that there are.
    pub(crate) async fn list(&self) -> Vec<String> {
        let (status, all) = self.ask("GET", "/sandboxes", &Value::Null).await;
        assert_eq!(status, 200);
        all.as_array().unwrap().iter().map(|one| one["sandboxID"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) async fn state(&self, id: &str) -> String {
        let (_, told) = self.ask("GET", &format!("/sandboxes/{id}"), &Value::Null).await;
        told["state"].as_str().unwrap_or_default().to_owned()
    }

    /// The lines of one kind in the audit log.
    pub(crate) fn lines(&self, event: &str) -> Vec<Value> {
        let log = std::fs::read_to_string(self.folder.path().join("serve/audit.jsonl")).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &Value| line["event"] == event).collect()
    }

    /// Ends it, with all its sandboxes.
    pub(crate) async fn end(self) {
        timeout(PATIENCE, self.server.end()).await.expect("the server ends");
    }
}

/// Waits until it holds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < until, "it never happened: {what}");
        tokio::task::yield_now().await;
    }
}

/// The status of the next answer on a connection that goes on.
pub(crate) async fn status_on(stream: &mut TcpStream) -> u16 {
    let answer = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a whole head"));
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).await.expect("a whole body");
        head.split(' ').nth(1).expect("a status").parse().unwrap()
    };
    timeout(PATIENCE, answer).await.expect("an answer")
}
