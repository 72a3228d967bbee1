//! Calls that would go in circles: a gateway before itself, and gateways before each other.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;

use wflo_gateway::dialect::Dialect;
use wflo_gateway::ledger::Caller;
use wflo_gateway::price::ModelSettings;
use wflo_gateway::route::{Provider, Routes};
use wflo_gateway::serve::ServeHandle;
use wflo_gateway::{Gateway, Limits};
use wflo_testkit::model_server::ModelServer;

use crate::ledger::MemoryLedger;
use crate::world::{World, chat, deadlines, send};

/// A gateway on this listener, whose one provider is at this address.
fn serve(listener: TcpListener, upstream: &str) -> (ServeHandle, Arc<MemoryLedger>) {
    let ledger = MemoryLedger::unlimited();
    let provider = Provider::new("openai", Dialect::OpenAi, upstream, None).unwrap();
    let models = BTreeMap::from([("smol".to_owned(), ModelSettings { ..World::price("1", "2") })]);
    let routes = Routes::new(vec![provider], Vec::new(), models).unwrap();
    let gateway = Gateway::new(routes, Arc::clone(&ledger) as _, deadlines(), Limits::default());
    (gateway.serve(listener, Caller::new("run_x/step", ())).unwrap(), ledger)
}

fn listen() -> (TcpListener, u16, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port, format!("http://127.0.0.1:{port}/v1"))
}

fn ask() -> String {
    chat("hi").replace("gpt-5-mini", "smol")
}

#[tokio::test]
async fn a_gateway_that_is_its_own_provider_asks_itself_once() {
    let (listener, port, address) = listen();
    let (_handle, ledger) = serve(listener, &address);
    let got = send(port, "POST", "/v1/chat/completions", &[], &ask()).await;
    assert_eq!(got.status, 508, "{}", got.text());
    assert!(got.text().contains("WFLO-4130"), "{}", got.text());
    assert_eq!(got.headers["x-should-retry"], "false");
    // The call that came back was refused before it held anything, and a refusal costs nothing.
    assert_eq!((ledger.calls().len(), ledger.held(), ledger.settled()), (1, 0, 0));
}

#[tokio::test]
async fn two_gateways_that_ask_each_other_end_where_they_began() {
    let ((here, port, address), (there, _, other)) = (listen(), listen());
    let (_first, one) = serve(here, &other);
    let (_second, two) = serve(there, &address);
    let got = send(port, "POST", "/v1/chat/completions", &[], &ask()).await;
    assert_eq!(got.status, 508, "{}", got.text());
    assert_eq!((one.calls().len(), two.calls().len()), (1, 1));
}

#[tokio::test]
async fn a_chain_of_gateways_works_and_each_signs() {
    let mock = ModelServer::start().unwrap();
    let ((here, port, _), (there, _, other)) = (listen(), listen());
    let (_first, one) = serve(here, &other);
    let (_second, two) = serve(there, &mock.openai_url());
    for nth in 0..2 {
        let got = send(port, "POST", "/v1/chat/completions", &[], &ask()).await;
        assert_eq!(got.status, 200, "{}", got.text());
        let signs: Vec<_> = mock.seen()[nth].headers.get_all("wflo-hop").iter().cloned().collect();
        assert!(signs.len() == 2 && signs[0] != signs[1], "{signs:?}");
    }
    assert_eq!((one.calls().len(), two.calls().len()), (2, 2));
    assert!(one.settled() > 0 && one.settled() == two.settled());
}
