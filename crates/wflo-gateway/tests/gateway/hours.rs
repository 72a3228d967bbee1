//! Providers that ask for less at some hours are charged so, by their own clock.

use bytes::Bytes;
use wflo_gateway::dialect::Dialect;
use wflo_gateway::route::Provider;
use wflo_testkit::model_server::{Fault, ModelServer};

use crate::ledger::MemoryLedger;
use crate::world::{World, deadlines};

#[tokio::test]
async fn a_call_in_quiet_hours_costs_what_it_costs_then() {
    let usage = r#""usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}"#;
    let whole = format!(r#"{{"choices":[{{"message":{{"content":"a"}}}}],{usage}}}"#);
    let streamed = format!(
        "data: {{\"choices\":[{{\"finish_reason\":\"stop\"}}]}}\n\ndata: {{\"choices\":[],{usage}}}\n\ndata: [DONE]\n\n"
    );
    let charged = async |date: &'static str, stream: bool| {
        let mock = ModelServer::start().unwrap();
        let provider = Provider::new("deepseek", Dialect::OpenAi, &mock.openai_url(), None).unwrap();
        let world = World::over(mock, vec![provider], MemoryLedger::unlimited(), deadlines());
        let (kind, text) =
            if stream { ("text/event-stream", &streamed) } else { ("application/json", &whole) };
        let headers = vec![("content-type", kind), ("date", date)];
        world.mock.fault_next(Fault::Verbatim(headers, vec![Bytes::from(text.clone())]));
        let body = format!(
            r#"{{"model":"deepseek-v4-pro","max_tokens":200,"stream":{stream},"messages":[{{"role":"user","content":"a"}}]}}"#
        );
        let got = world.chat(&body).await;
        assert_eq!(got.status, 200, "{}", got.text());
        world.ledger.settled()
    };
    for stream in [false, true] {
        let peak = charged("Tue, 24 Nov 2026 08:30:00 GMT", stream).await;
        let quiet = charged("Tue, 24 Nov 2026 12:00:00 GMT", stream).await;
        // 1,000 tokens at 0.66 and 100 at 1.98 USD per million.
        assert_eq!(quiet, 858_000, "stream: {stream}");
        assert!(peak > quiet, "{peak}");
        assert_eq!(charged("Tue, 24 Nov 2026 10:00:00 GMT", stream).await, peak, "it began before");
    }
}
