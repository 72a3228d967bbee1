//! A server with sandboxes of this machine, and clients that do what no SDK would.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "serve/world.rs"]
mod world;

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use self::world::{PATIENCE, World, eventually, status_on};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_begins_and_leaves_has_its_room_and_its_line() {
    let world = World::start(2).await;
    let wish = json!({ "templateID": "base", "timeout": 300 });
    // A request that nothing of was read yet is none: it is made again until two have come that far.
    eventually("two are recorded", async || {
        world.leave("POST", "/sandboxes", &wish).await;
        world.list().await.len() == 2
    })
    .await;
    eventually("each has its line", async || world.lines("sandbox.created").len() == 2).await;
    assert_eq!(world.ask("POST", "/sandboxes", &wish).await.0, 429, "there is no more room");

    let id = world.list().await.remove(0);
    for round in 1..=5 {
        for (verb, state, event) in
            [("pause", "paused", "sandbox.paused"), ("resume", "running", "sandbox.resumed")]
        {
            eventually(state, async || {
                world.leave("POST", &format!("/sandboxes/{id}/{verb}"), &json!({})).await;
                world.state(&id).await == state
            })
            .await;
            eventually(event, async || world.lines(event).len() >= round).await;
        }
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_server_is_the_end_of_sandboxes_that_are_being_made() {
    for longer in 0..6 {
        let world = World::start(8).await;
        let wish = json!({ "templateID": "base", "timeout": 300 });
        assert_eq!(world.ask("POST", "/sandboxes", &wish).await.0, 201);
        let _making =
            (world.send("POST", "/sandboxes", &wish).await, world.send("POST", "/sandboxes", &wish).await);
        // Each time at another moment of the making; at whichever, it ends.
        tokio::time::sleep(Duration::from_millis(4 * longer)).await;
        world.end().await;
    }
}

#[test]
fn a_sandbox_that_runs_takes_no_thread_of_the_servers() {
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(2).enable_all().build();
    let lived = async {
        let world = World::start(4).await;
        let wish = json!({ "templateID": "base", "timeout": 300 });
        for _ in 0..4 {
            assert_eq!(world.ask("POST", "/sandboxes", &wish).await.0, 201);
        }
        for id in world.list().await {
            assert_eq!(world.ask("DELETE", &format!("/sandboxes/{id}"), &json!({})).await.0, 204);
        }
        eventually("each has ended", async || world.lines("sandbox.ended").len() == 4).await;
        for line in world.lines("sandbox.ended") {
            assert_eq!(line["outcome"], "killed");
        }
        world.end().await;
    };
    let runtime = runtime.unwrap();
    let lived = runtime.block_on(async { tokio::time::timeout(PATIENCE, lived).await });
    runtime.shutdown_background();
    lived.expect("somebody has a thread");
}

#[tokio::test]
async fn a_message_about_a_sandbox_is_no_longer_than_it_can_be() {
    let world = World::start(1).await;
    // As long as notes can be, and written at their longest.
    let notes = "\u{1}".repeat(60 << 10);
    let env = "\u{1}".repeat(60 << 10);
    let wish = json!({ "templateID": "base", "metadata": { "a": notes }, "envVars": { "A": env } });
    let (status, told) = world.ask("POST", "/sandboxes", &wish).await;
    assert_eq!(status, 201, "{told}");
    let id = world.list().await.remove(0);
    let long = json!({ "mcp": vec![json!([]); 400_000] });
    for (method, path) in [
        ("POST", "/sandboxes".to_owned()),
        ("POST", format!("/sandboxes/{id}/timeout")),
        ("PUT", format!("/sandboxes/{id}/network")),
    ] {
        assert_eq!(world.ask(method, &path, &long).await.0, 413, "{path}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_request_that_is_refused_leaves_its_connection_to_the_next() {
    let world = World::start(1).await;
    let body = vec![b' '; 300 << 10];
    let mut client = world.connect().await;
    for path in ["/sandboxes", "/execute", "/process.Process/List", "/files?path=a"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: wrong\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.write_all(head.as_bytes()).await.unwrap();
        // The head alone is enough to refuse it.
        client.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        client.write_all(&body).await.unwrap();
        assert!((400..500).contains(&status_on(&mut client).await), "{path}");
    }
    world.end().await;
}

#[tokio::test]
async fn what_is_noted_of_a_sandbox_holds_no_value_of_its_variables() {
    let world = World::start(1).await;
    let wish = json!({ "metadata": { "for": "a secret-value here" }, "envVars": { "KEY": "secret-value" } });
    assert_eq!(world.ask("POST", "/sandboxes", &wish).await.0, 201);
    assert_eq!(world.lines("sandbox.created")[0]["metadata"], json!({ "for": "a *** here" }));
    world.end().await;
}
