//! The list of models is answered here: nothing of such a request reaches a provider.

use crate::ledger::MemoryLedger;
use crate::world::{World, send};

#[tokio::test]
async fn a_list_of_models_is_answered_without_the_provider() {
    let world = World::new(MemoryLedger::unlimited());
    let listed = send(world.port, "GET", "/openai/v1/models?leak=1", &[("x-leak", "data")], "").await;
    let listed = listed.json();
    let ids: Vec<&str> =
        listed["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!((listed["object"].as_str(), ids[0]), (Some("list"), "smol"));
    assert!(ids.contains(&"gpt-5-mini") && !ids.contains(&"claude-sonnet-4-5"));
    let anthropic = send(world.port, "GET", "/anthropic/v1/models", &[], "").await.json();
    assert_eq!((&anthropic["has_more"], &anthropic["data"][0]["type"]), (&false.into(), &"model".into()));
    assert!(world.mock.seen().is_empty() && world.ledger.calls().is_empty());
}

#[tokio::test]
async fn what_stands_in_a_models_name_goes_nowhere() {
    let world = World::new(MemoryLedger::unlimited());
    let one = send(world.port, "GET", "/openai/v1/models/gpt-5-mini", &[], "").await;
    assert_eq!((one.status.as_u16(), one.json()["id"].as_str()), (200, Some("gpt-5-mini")));
    for path in ["/openai/v1/models/NEVER_APPROVED", "/anthropic/v1/models/NEVER_APPROVED?leak=1"] {
        let got = send(world.port, "GET", path, &[], "").await;
        assert_eq!(got.status, 404, "{}", got.text());
        assert!(got.text().contains("WFLO-4002"), "{}", got.text());
    }
    assert!(world.mock.seen().is_empty());
}

#[tokio::test]
async fn a_slip_in_a_models_name_is_said_first() {
    let world = World::new(MemoryLedger::unlimited());
    let said = |got: &str, wanted: &str| assert!(got.contains(wanted), "{got}");
    let got = world.chat(r#"{"model":"gpt5-mini","messages":[]}"#).await;
    said(got.text(), "Did you mean gpt-5-mini? If not: price it in wflo.toml");
    let got = world.chat(r#"{"model":"smoll","messages":[]}"#).await;
    said(got.text(), "Did you mean smol?");
    let got = world.chat(r#"{"model":"something-else-7b","messages":[]}"#).await;
    said(got.text(), ". Price it in wflo.toml");
}
