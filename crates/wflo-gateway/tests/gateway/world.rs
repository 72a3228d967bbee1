//! A mock provider, a gateway before it, and a client that sees every byte.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use wflo_gateway::dialect::Dialect;
use wflo_gateway::dialect::limit::OutputLimit;
use wflo_gateway::ledger::Caller;
use wflo_gateway::price::ModelSettings;
use wflo_gateway::route::{Provider, Routes};
use wflo_gateway::routing::Routing;
use wflo_gateway::secret::Secret;
use wflo_gateway::serve::ServeHandle;
use wflo_gateway::{Deadlines, Gateway, Limits};
use wflo_testkit::model_server::ModelServer;

use crate::ledger::MemoryLedger;

pub(crate) const KEY: &str = "sk-real-key-that-must-not-show";

pub(crate) struct World {
    pub(crate) mock: ModelServer,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) gateway: Gateway,
    pub(crate) port: u16,
    pub(crate) handle: ServeHandle,
}

pub(crate) fn deadlines() -> Deadlines {
    Deadlines { connect: Duration::from_secs(20), ..Deadlines::default() }
}

impl World {
    pub(crate) fn new(ledger: Arc<MemoryLedger>) -> World {
        World::with(ledger, deadlines())
    }

    pub(crate) fn with(ledger: Arc<MemoryLedger>, deadlines: Deadlines) -> World {
        let mock = ModelServer::start().unwrap();
        let providers = World::providers(&mock);
        World::over(mock, providers, ledger, deadlines)
    }

    /// One provider of each dialect, and a local server.
    pub(crate) fn providers(mock: &ModelServer) -> Vec<Provider> {
        let provider =
            |name, dialect, url: String| Provider::new(name, dialect, &url, Secret::new(KEY)).unwrap();
        // A proxy before OpenAI, whose clients are OpenAI's.
        let mut openai = provider("openai", Dialect::OpenAi, mock.openai_url());
        openai.output_limit = OutputLimit::MaxCompletionTokens;
        vec![
            openai,
            provider("anthropic", Dialect::Anthropic, mock.anthropic_url()),
            provider("google", Dialect::Google, mock.root_url()),
            provider("cohere", Dialect::Cohere, mock.root_url()),
            provider("local", Dialect::OpenAi, mock.openai_url()),
        ]
    }

    pub(crate) fn over(
        mock: ModelServer,
        providers: Vec<Provider>,
        ledger: Arc<MemoryLedger>,
        deadlines: Deadlines,
    ) -> World {
        World::routed(mock, providers, Routing::default(), ledger, deadlines)
    }

    /// A small model at this price per million tokens.
    pub(crate) fn price(input: &str, output: &str) -> ModelSettings {
        ModelSettings {
            input: Some(input.to_owned()),
            output: Some(output.to_owned()),
            context_tokens: Some(1_000),
            max_output_tokens: Some(500),
            ..ModelSettings::default()
        }
    }

    pub(crate) fn routed(
        mock: ModelServer,
        providers: Vec<Provider>,
        routing: Routing,
        ledger: Arc<MemoryLedger>,
        deadlines: Deadlines,
    ) -> World {
        let own =
            |provider: &str| ModelSettings { provider: Some(provider.to_owned()), ..World::price("1", "2") };
        let named = [
            ("smol", "local"),
            ("gemini-x", "google"),
            ("gemini-y", "google"),
            ("gemini-y", "google"),
            ("command-x", "cohere"),
        ];
        let mut models: BTreeMap<String, ModelSettings> =
            named.map(|(model, provider)| (model.to_owned(), own(provider))).into();
        models.retain(|_, model| {
            providers.iter().any(|provider| Some(&provider.name) == model.provider.as_ref())
        });
        if providers.iter().any(|provider| provider.name == "a") {
            // Of whoever is asked for them.
            models.insert("small".to_owned(), World::price("1", "2"));
            models.insert("large".to_owned(), World::price("10", "20"));
        }
        let routes = Routes::new(providers, Vec::new(), models).unwrap().with_routing(routing).unwrap();
        let gateway = Gateway::new(routes, Arc::clone(&ledger) as _, deadlines, Limits::default());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let handle = gateway.serve(listener, Caller::new("run_x/step", ())).unwrap();
        World { mock, ledger, gateway, port, handle }
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Got {
        self.post_with(path, &[], body).await
    }

    pub(crate) async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
        send(self.port, "POST", path, headers, body).await
    }

    pub(crate) async fn chat(&self, body: &str) -> Got {
        self.post("/openai/v1/chat/completions", body).await
    }

    pub(crate) async fn messages(&self, body: &str) -> Got {
        self.post("/anthropic/v1/messages", body).await
    }
}

#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The body's end came, and not the connection's.
    pub(crate) whole: bool,
}

impl Got {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
}

pub(crate) async fn start(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> hyper::Response<hyper::body::Incoming> {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "gateway");
    request = request.header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    sender.send_request(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await.unwrap()
}

pub(crate) async fn send(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
    let response = tokio::time::timeout(Duration::from_secs(120), start(port, method, path, headers, body));
    let (head, mut incoming) = response.await.expect("no answer in 120 s").into_parts();
    let mut body = Vec::new();
    let whole = loop {
        match incoming.frame().await {
            None => break true,
            Some(Err(_)) => break false,
            Some(Ok(frame)) => body.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
        }
    };
    Got { status: head.status, headers: head.headers, body: body.into(), whole }
}

/// A chat request of a model of the map, with a stated end.
pub(crate) fn chat(text: &str) -> String {
    format!(
        r#"{{"model":"gpt-5-mini","messages":[{{"role":"user","content":"{text}"}}],"max_completion_tokens":100}}"#
    )
}

pub(crate) fn streamed(text: &str) -> String {
    chat(text).replacen('{', r#"{"stream":true,"#, 1)
}

pub(crate) fn message(text: &str) -> String {
    format!(
        r#"{{"model":"claude-sonnet-4-5","max_tokens":100,"messages":[{{"role":"user","content":"{text}"}}]}}"#
    )
}
