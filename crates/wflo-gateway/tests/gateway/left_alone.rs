//! A client that stays and takes nothing: its call does not wait with it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use wflo_gateway::Deadlines;
use wflo_gateway::dialect::Dialect;
use wflo_gateway::route::Provider;
use wflo_testkit::model_server::ModelServer;

use crate::ledger::{Entry, MemoryLedger};
use crate::shapes::charged_as_held;
use crate::world::{World, deadlines, streamed};

/// More than all buffers between a provider and a client hold.
const MUCH: usize = 64 << 20;

/// A provider that streams until it cannot, at most `MUCH`; and what it could.
fn endless() -> (u16, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0_u8; 4_096];
        let _ = stream.read(&mut request).unwrap();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let event =
            format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(8_000));
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        let mut written = 0;
        while written < MUCH && stream.write_all(chunk.as_bytes()).is_ok() {
            written += chunk.len();
        }
        written
    });
    (port, served)
}

#[tokio::test]
async fn a_client_that_takes_nothing_counts_as_gone_when_the_idle_time_is_over() {
    let (upstream, served) = endless();
    let patience =
        Deadlines { idle: Duration::from_millis(100), drain: Duration::from_millis(100), ..deadlines() };
    let provider = Provider::new("openai", Dialect::OpenAi, &format!("http://127.0.0.1:{upstream}/v1"), None);
    let mock = ModelServer::start().unwrap();
    let world = World::over(mock, vec![provider.unwrap()], MemoryLedger::unlimited(), patience);
    let mut client = TcpStream::connect(("127.0.0.1", world.port)).unwrap();
    let body = streamed("hi");
    let request = format!(
        "POST /openai/v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(request.as_bytes()).unwrap();
    let settled =
        |calls: &[crate::ledger::Call]| calls.iter().any(|call| matches!(call.entry, Entry::Closed(_)));
    world.ledger.until("settled, though its client is still there", settled).await;
    charged_as_held(&world);
    let written = tokio::task::spawn_blocking(|| served.join().unwrap()).await.unwrap();
    assert!(written < MUCH, "the provider is read no faster than the client reads, and then no more");
    tokio::time::timeout(Duration::from_secs(120), world.gateway.shutdown()).await.expect("no call is left");
    drop(client);
}
