//! A model provider on loopback that speaks OpenAI's chat completions and responses, Anthropic's messages,
//! Google's generateContent and Cohere's chat byte for byte as the real ones do, counts what it was asked and what it bills, and fails on command.
//!
//! It runs on a thread and a runtime of its own, so blocking tests and tests on any runtime can use
//! it, and a test's own runtime being busy does not slow it. What it answers is a function of the
//! request and of the script, never of time or chance.

mod anthropic;
mod body;
mod cohere;
mod google;
mod openai;
mod prompt;
mod responses;
mod script;

pub use script::{Answer, Counts, Fault, Seen};

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use self::body::{Closed, Pieces, feed};
use self::prompt::{Prompt, Rendered};

#[derive(Default)]
struct State {
    faults: VecDeque<Fault>,
    always: Option<Fault>,
    answers: VecDeque<Answer>,
    usual: Option<Answer>,
    limits: Option<Vec<&'static str>>,
    seen: Vec<Seen>,
    counts: Counts,
}

/// A running server. Dropping it ends it.
pub struct ModelServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: watch::Sender<bool>,
    /// Requests whose answer may go on; see [`ModelServer::hold`].
    gate: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl ModelServer {
    /// Starts a server on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port or thread can be had.
    pub fn start() -> std::io::Result<ModelServer> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let (stop, stopped) = watch::channel(false);
        let (gate, opened) = watch::channel(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("model-server".to_owned()).spawn(move || {
            runtime.block_on(serve(listener, shared, stopped, opened));
        })?;
        Ok(ModelServer { address, state, stop, gate, thread: Some(thread) })
    }

    /// The address for `OPENAI_BASE_URL`.
    pub fn openai_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The address for `ANTHROPIC_BASE_URL`.
    pub fn anthropic_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address for `GOOGLE_GEMINI_BASE_URL` and `CO_API_URL`.
    pub fn root_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The next billed request goes wrong like this; further calls queue further requests' faults.
    pub fn fault_next(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }

    /// Every request without a queued fault goes wrong like this; `None` ends it.
    pub fn fault_always(&self, fault: Option<Fault>) {
        self.state().always = fault;
    }

    /// What the model says to the next request.
    pub fn answer_next(&self, answer: Answer) {
        self.state().answers.push_back(answer);
    }

    /// What the model says whenever nothing is queued.
    pub fn answer_always(&self, answer: Answer) {
        self.state().usual = Some(answer);
    }

    /// The server reads only these names as an answer's limit, the largest of those that a request has,
    /// and ignores all others, as servers do; OpenAI's two if this is never said.
    pub fn read_limits(&self, names: &[&'static str]) {
        self.state().limits = Some(names.to_vec());
    }

    /// Holds every answer back until [`ModelServer::release`]: requests arrive, are counted, wait.
    pub fn hold(&self) {
        self.gate.send_replace(false);
    }

    /// Lets held answers go.
    pub fn release(&self) {
        self.gate.send_replace(true);
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Every request that arrived, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic of the server's thread has been reported by the requests that it broke.
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(
    listener: std::net::TcpListener,
    state: Arc<Mutex<State>>,
    mut stopped: watch::Receiver<bool>,
    gate: watch::Receiver<bool>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        let _ = stream.set_nodelay(true);
        let (state, gate) = (Arc::clone(&state), gate.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let (state, gate) = (Arc::clone(&state), gate.clone());
                async move { respond(state, gate, request).await }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

type Answered = Result<Response<Pieces>, Closed>;

async fn respond(
    state: Arc<Mutex<State>>,
    mut gate: watch::Receiver<bool>,
    request: Request<Incoming>,
) -> Answered {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let target = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let endpoint = Endpoint::of(&path);
    let is_billed = endpoint.is_some_and(Endpoint::is_billed);
    let (fault, answer, serial, limits) = {
        let mut state = lock(&state);
        let seen =
            Seen { method: head.method.to_string(), target, headers: head.headers, body: body.clone() };
        state.seen.push(seen);
        let limits = state.limits.clone();
        let limits = limits.unwrap_or_else(|| endpoint.map_or(Vec::new(), Endpoint::limits));
        if is_billed {
            state.counts.requests += 1;
            let fault = state.faults.pop_front().or_else(|| state.always.clone());
            let answer = state.answers.pop_front().or_else(|| state.usual.clone()).unwrap_or_default();
            (fault, answer, state.counts.requests, limits)
        } else {
            state.counts.free += 1;
            let fault = state.always.clone().filter(|fault| matches!(fault, Fault::Verbatim(..)));
            (fault, Answer::default(), 0, limits)
        }
    };
    let _ = gate.wait_for(|open| *open).await;
    match &fault {
        Some(Fault::Hang) => std::future::pending::<()>().await,
        Some(Fault::Close) => return Err(Closed),
        Some(Fault::Garbage) => {
            lock(&state).counts.billed += 1;
            return plain(200, "application/json", "<html>this is not JSON".to_owned());
        }
        Some(Fault::Status(status, body, retry_after)) => {
            let mut response = plain(*status, "application/json", body.clone())?;
            if let Some(value) = retry_after.as_deref().and_then(|after| after.parse().ok()) {
                response.headers_mut().insert("retry-after", value);
            }
            return Ok(response);
        }
        Some(Fault::Verbatim(headers, pieces)) => {
            lock(&state).counts.billed += 1;
            return Ok(verbatim(headers, pieces.clone()));
        }
        Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
        _ => {}
    }
    let Ok(request) = serde_json::from_slice::<Value>(if body.is_empty() { b"{}" } else { &body }) else {
        return plain(400, "application/json", r#"{"error":{"message":"We could not parse the JSON body of your request.","type":"invalid_request_error","param":null,"code":null}}"#.to_owned());
    };
    let prompt = Prompt {
        request: &request,
        path: &path,
        sse: query.contains("alt=sse"),
        answer,
        usage_is: if let Some(Fault::UsageIs(text)) = &fault { Some(*text) } else { None },
        usage: fault != Some(Fault::UsageMissing),
        usage_after_done: fault == Some(Fault::UsageAfterDone),
        limits,
        length: body.len(),
        serial,
    };
    let Some(endpoint) = endpoint else {
        return plain(
            404,
            "application/json",
            r#"{"error":{"message":"Not found","type":"invalid_request_error"}}"#.to_owned(),
        );
    };
    let rendered = endpoint.answer(&prompt);
    if is_billed {
        let counts = &mut lock(&state).counts;
        counts.billed += 1;
        counts.input_tokens += rendered.input_tokens;
        counts.output_tokens += rendered.output_tokens;
    }
    Ok(send(rendered, fault))
}

/// What is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Chat,
    Responses,
    Embeddings,
    Models,
    Messages,
    CountTokens,
    Generate,
    StreamGenerate,
    GoogleCountTokens,
    GoogleEmbed,
    CohereChat,
    CohereEmbed,
    Rerank,
}

impl Endpoint {
    fn of(path: &str) -> Option<Endpoint> {
        Some(match path {
            "/v1/chat/completions" => Endpoint::Chat,
            "/v1/responses" => Endpoint::Responses,
            "/v1/embeddings" => Endpoint::Embeddings,
            "/v1/models" => Endpoint::Models,
            "/v1/messages" => Endpoint::Messages,
            "/v1/messages/count_tokens" => Endpoint::CountTokens,
            "/v2/chat" => Endpoint::CohereChat,
            "/v2/embed" => Endpoint::CohereEmbed,
            "/v2/rerank" => Endpoint::Rerank,
            _ => {
                let rest = path.strip_prefix("/v1beta/models/").or(path.strip_prefix("/v1/models/"))?;
                match rest.split_once(':')?.1 {
                    "generateContent" => Endpoint::Generate,
                    "streamGenerateContent" => Endpoint::StreamGenerate,
                    "countTokens" => Endpoint::GoogleCountTokens,
                    "embedContent" | "batchEmbedContents" => Endpoint::GoogleEmbed,
                    _ => return None,
                }
            }
        })
    }

    fn is_billed(self) -> bool {
        !matches!(self, Endpoint::Models | Endpoint::CountTokens | Endpoint::GoogleCountTokens)
    }

    /// The names that the real server reads as an answer's limit.
    fn limits(self) -> Vec<&'static str> {
        match self {
            Endpoint::Responses => vec!["max_output_tokens"],
            Endpoint::Generate | Endpoint::StreamGenerate => vec!["maxOutputTokens", "max_output_tokens"],
            _ => vec!["max_tokens", "max_completion_tokens"],
        }
    }

    fn answer(self, prompt: &Prompt<'_>) -> Rendered {
        match self {
            Endpoint::Chat => openai::chat(prompt),
            Endpoint::Responses => responses::responses(prompt),
            Endpoint::Embeddings => openai::embeddings(prompt),
            Endpoint::Models => openai::models(),
            Endpoint::Messages => anthropic::messages(prompt),
            Endpoint::CountTokens => anthropic::count_tokens(prompt),
            Endpoint::Generate => google::generate(prompt, false),
            Endpoint::StreamGenerate => google::generate(prompt, true),
            Endpoint::GoogleCountTokens => google::count_tokens(prompt),
            Endpoint::GoogleEmbed => google::embed(prompt),
            Endpoint::CohereChat => cohere::chat(prompt),
            Endpoint::CohereEmbed => cohere::embed(prompt),
            Endpoint::Rerank => cohere::rerank(prompt),
        }
    }
}

fn verbatim(headers: &[(&'static str, &'static str)], pieces: Vec<Bytes>) -> Response<Pieces> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(body::write(sender, pieces));
    let mut response = Response::new(Pieces::Stream(receiver));
    for (name, value) in headers {
        response.headers_mut().append(*name, http::HeaderValue::from_static(value));
    }
    response
}

fn plain(status: u16, content_type: &'static str, body: String) -> Answered {
    let mut response = Response::new(Pieces::Whole(Some(body.into())));
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| Closed)?;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static(content_type));
    Ok(response)
}

fn send(rendered: Rendered, fault: Option<Fault>) -> Response<Pieces> {
    let streams = rendered.streams;
    let body = if streams || matches!(fault, Some(Fault::ResetAfter(_))) {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(feed(sender, rendered.pieces, rendered.error_event, fault, streams));
        Pieces::Stream(receiver)
    } else {
        Pieces::Whole(Some(rendered.pieces.concat().into()))
    };
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", http::HeaderValue::from_static(rendered.content_type));
    for (name, value) in rendered.headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
