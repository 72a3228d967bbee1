//! The daemon in a cloud's sandbox (envd): files are brought there, a process is started and spoken to.

use super::api::{Api, Created};
use super::error::Error;
use super::http::{Body, Http, hidden, request, whole};
use super::messages::{Event, Events, enveloped};
use crate::remote::bridge::{Connection, Piece, QUEUE};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, DuplexStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// How long bringing the program there may take.
const FILL: Duration = Duration::from_secs(600);
/// How long a process may take to start; any other request of the daemon.
const ASK: Duration = Duration::from_secs(60);
/// How often the daemon is to say something, in seconds, and after how long it is taken for gone.
const PING: &str = "20";
const SILENCE: Duration = Duration::from_secs(90);
/// What is sent to a process at once.
const INPUT: usize = 192 << 10;
/// What of a file is in memory.
const PART: usize = 256 << 10;
/// Whoever programs are run as, in the templates of E2B.
const USER: &str = "user";
/// The daemon's own port.
const PORT: &str = "49983";

/// One sandbox's daemon.
#[derive(Debug, Clone)]
pub(super) struct Daemon {
    http: Http,
    base: String,
    id: String,
    token: Option<String>,
}

/// A file on its way.
#[derive(Debug, Clone)]
pub(super) struct Brought {
    pub(super) from: PathBuf,
    pub(super) to: String,
}

impl Daemon {
    pub(super) fn new(api: &Api, created: &Created) -> Daemon {
        Daemon {
            http: api.http.keeping(created.token.as_deref().unwrap_or_default()),
            base: api.cloud.of_sandbox(&created.id),
            id: created.id.clone(),
            token: created.token.clone(),
        }
    }

    fn request(&self, path: &str, kind: &str, body: Body) -> Result<Request<Body>, Error> {
        let mut request = request(Method::POST, &format!("{}{path}", self.base), body)?;
        let wrong = |_| Error::Answer { what: "the name of the sandbox is none".to_owned() };
        let user = format!("Basic {}", STANDARD.encode(format!("{USER}:")));
        let headers = request.headers_mut();
        headers.insert("e2b-sandbox-id", HeaderValue::from_str(&self.id).map_err(wrong)?);
        headers.insert("e2b-sandbox-port", HeaderValue::from_static(PORT));
        headers.insert("connect-protocol-version", HeaderValue::from_static("1"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&user).map_err(wrong)?);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(kind).map_err(wrong)?);
        if let Some(token) = &self.token {
            headers.insert("x-access-token", hidden(token)?);
        }
        Ok(request)
    }

    async fn ask(&self, path: &str, kind: &str, body: Body, limit: Duration) -> Result<(), Error> {
        let answer = self.http.ask(self.request(path, kind, body)?, limit).await?;
        if answer.status.is_success() { Ok(()) } else { Err(self.refused(answer.status, &answer.body)) }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Error {
        Error::Refused { what: "use", status: status.as_u16(), said: self.http.said(body) }
    }

    async fn call(&self, method: &str, message: &Value) -> Result<(), Error> {
        let body = whole(message.to_string().into_bytes());
        self.ask(&format!("/process.Process/{method}"), "application/json", body, ASK).await
    }

    /// Brings files there, in one form.
    pub(super) async fn bring(&self, files: Vec<Brought>) -> Result<(), Error> {
        let boundary = uuid::Uuid::now_v7().simple().to_string();
        let (parts, body) = mpsc::channel::<Result<Frame<Bytes>, io::Error>>(2);
        let between = boundary.clone();
        let writing = tokio::task::spawn_blocking(move || form(&files, &between, &parts));
        let body = StreamBody::new(futures_util::stream::unfold(body, async |mut body| {
            let part = body.recv().await?;
            Some((part, body))
        }));
        let kind = format!("multipart/form-data; boundary={boundary}");
        let path = format!("/files?username={USER}");
        let sent = self.ask(&path, &kind, body.boxed_unsync(), FILL).await;
        match writing.await {
            Ok(Err(source)) if source.kind() != io::ErrorKind::BrokenPipe => {
                Err(Error::Io { what: "reading wflo's program", source })
            }
            _ => sent,
        }
    }

    /// Starts a process, and gives the two streams to it.
    pub(super) async fn start(&self, command: Vec<String>, runtime: &Handle) -> Result<Connection, Error> {
        let (program, arguments) = command.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
        let message = json!({
            "process": { "cmd": program, "args": arguments, "envs": {}, "cwd": "/" },
            "stdin": true,
        });
        let body = whole(enveloped(message.to_string().as_bytes()));
        let mut request = self.request("/process.Process/Start", "application/connect+json", body)?;
        request.headers_mut().insert("keepalive-ping-interval", HeaderValue::from_static(PING));
        let response = self.http.begin(request, ASK).await?;
        let status = response.status();
        let mut said =
            Said { http: self.http.clone(), body: response.into_body(), events: Events::default() };
        if !status.is_success() {
            return Err(self.refused(status, b""));
        }
        let pid = loop {
            match tokio::time::timeout(ASK, said.next()).await {
                Ok(Ok(Event::Started(pid))) => break pid,
                Ok(Ok(Event::Nothing)) => {}
                Ok(Ok(Event::Ended(words))) => {
                    return Err(Error::Keeper {
                        what: "could not be started",
                        words: self.http.words(&words),
                    });
                }
                Ok(Ok(Event::Output(_) | Event::Words(_))) => {
                    return Err(Error::Answer { what: "a process writes before it has started".to_owned() });
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    return Err(Error::Keeper { what: "did not start in time", words: String::new() });
                }
            }
        };
        let (ours, theirs) = tokio::io::duplex(INPUT);
        let (pieces, output) = mpsc::channel(QUEUE);
        runtime.spawn(self.clone().feed(pid, theirs));
        runtime.spawn(said.pass(pieces));
        Ok(Connection { input: Box::pin(ours), output, hushed: self.http.hushed.clone() })
    }

    /// Sends what is to be its input, piece after piece; each is taken before the next is sent.
    async fn feed(self, pid: u32, mut from: DuplexStream) {
        let process = json!({ "pid": pid });
        let mut buffer = vec![0; INPUT];
        loop {
            match from.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) => {
                    let bytes = STANDARD.encode(buffer.get(..read).unwrap_or_default());
                    let input = json!({ "process": process, "input": { "stdin": bytes } });
                    // Whoever writes sees the end of this.
                    if let Err(error) = self.call("SendInput", &input).await {
                        tracing::debug!(%error, "a process of a cloud takes no input");
                        return;
                    }
                }
            }
        }
        let _ = self.call("CloseStdin", &json!({ "process": process })).await;
    }
}

/// What a daemon says of a process.
struct Said {
    http: Http,
    body: Incoming,
    events: Events,
}

impl Said {
    async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.events.next()? {
                return Ok(event);
            }
            match tokio::time::timeout(SILENCE, self.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        self.events.push(data);
                    }
                }
                Ok(Some(Err(error))) => return Ok(Event::Ended(self.http.words(&error.to_string()))),
                Ok(None) => return Ok(Event::Ended("the connection ended".to_owned())),
                Err(_) => return Ok(Event::Ended(format!("nothing was heard for {} s", SILENCE.as_secs()))),
            }
        }
    }

    /// Passes on what the process writes until its end, or until nobody listens.
    async fn pass(mut self, to: mpsc::Sender<Piece>) {
        let why = loop {
            let piece = match self.next().await {
                Ok(Event::Output(bytes)) => Piece::Frames(bytes),
                Ok(Event::Words(bytes)) => Piece::Words(bytes),
                Ok(Event::Nothing | Event::Started(_)) => continue,
                Ok(Event::Ended(why)) => break why,
                Err(error) => break error.to_string(),
            };
            if to.send(piece).await.is_err() {
                return;
            }
        };
        let words = self.http.words(&why);
        let _ = to.send(Piece::Words(Bytes::from(words))).await;
    }
}

/// Writes a form that holds these files, as far as somebody takes it.
fn form(
    files: &[Brought],
    boundary: &str,
    to: &mpsc::Sender<Result<Frame<Bytes>, io::Error>>,
) -> io::Result<()> {
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let say = |bytes: Bytes| to.blocking_send(Ok(Frame::data(bytes))).map_err(|_| gone());
    let all = || {
        for file in files {
            let head = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n",
                file.to
            );
            say(Bytes::from(head))?;
            let mut content = File::open(&file.from)?;
            loop {
                let mut part = vec![0; PART];
                let read = content.read(&mut part)?;
                if read == 0 {
                    break;
                }
                part.truncate(read);
                say(Bytes::from(part))?;
            }
            say(Bytes::from_static(b"\r\n"))?;
        }
        say(Bytes::from(format!("--{boundary}--\r\n")))
    };
    let written = all();
    if let Err(error) = &written {
        // What was begun must not look whole.
        let _ = to.blocking_send(Err(io::Error::from(error.kind())));
    }
    written
}
