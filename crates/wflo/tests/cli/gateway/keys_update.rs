//! `wflo keys update`: a key that is changed under a gateway that runs.

use super::*;

fn create(world: &World, more: &[&str]) -> Value {
    let ended = world.folder.run(&[&["keys", "create", "--json"], more].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn update(world: &World, more: &[&str]) -> Value {
    let ended = world.folder.run(&[&["keys", "update", "--json"], more].concat());
    assert_eq!(ended.code, 0, "{more:?}: {}", ended.stderr);
    assert_fits("keys", &ended.stdout);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn with(gateway: &Gateway, key: &Value) -> (u16, String) {
    let bearer = format!("authorization: Bearer {}\r\n", key["key"].as_str().unwrap());
    let got = gateway.send("/v1/chat/completions", &bearer, CHAT);
    (got.status, got.body)
}

#[test]
fn gateways_that_run_see_what_a_key_may_do_now() {
    let world = World::new("");
    let key = create(&world, &["--name", "ci", "--budget", "0.0014", "--label", "team=search"]);
    let gateway = world.start();
    until("the end of its budget", || with(&gateway, &key).0 == 402);
    let raised = update(&world, &["ci", "--budget", "0.005"]);
    assert_eq!(raised["budget"]["period"], "total", "{raised}");
    until("the higher budget", || with(&gateway, &key).0 == 200);
    update(&world, &["ci", "--budget", "0.0014"]);
    until("the lower budget", || with(&gateway, &key).0 == 402);
    // What it has spent stays spent: a key that is changed is the same key.
    let listed = world.folder.run(&["budgets", "list", "--json"]).stdout;
    let lines = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let accounts: Vec<Value> = lines.filter(|line| line["scope"] == "key").collect();
    assert_eq!(accounts.len(), 1, "{accounts:?}");
    let daily = update(&world, &["ci", "--period", "day"]);
    assert_eq!(daily["budget"], serde_json::json!({"limit_usd": "0.0014", "period": "day"}), "{daily}");
    until("the new day", || with(&gateway, &key).0 == 200);
    let free = update(&world, &["ci", "--no-budget", "--label", "user=anna", "--no-label", "team"]);
    assert!(free.get("budget").is_none() && free["labels"] == serde_json::json!({"user": "anna"}), "{free}");
    until("no budget", || with(&gateway, &key).0 == 200);
    update(&world, &["ci", "--models", "gpt-*"]);
    until("other models", || with(&gateway, &key).1.contains("WFLO-4067"));
    // Another secret leaves what it may do as it is.
    let rotated = world.folder.run(&["keys", "rotate", "ci", "--json"]).stdout;
    let rotated: Value = serde_json::from_str(&rotated).unwrap();
    until("the other secret", || with(&gateway, &rotated).1.contains("WFLO-4067"));
    assert_eq!(with(&gateway, &key).0, 401);
    update(&world, &["ci", "--all-models", "--rpm", "1"]);
    until("its pace", || with(&gateway, &rotated).0 == 429);
    update(&world, &["ci", "--no-rpm"]);
    until("no pace", || with(&gateway, &rotated).0 == 200);
    gateway.drain();
    let (_, uncertain) = world.charged();
    assert_eq!(uncertain, 0);
}

#[test]
fn an_end_may_be_a_day_or_a_moment_and_what_cannot_be_meant_is_refused() {
    let world = World::new("");
    let key = create(&world, &["--name", "fair", "--expires", "2999-01-31"]);
    assert_eq!(key["expires_at"], "2999-01-31T00:00:00Z");
    let moved = update(&world, &["fair", "--expires", "2999-01-31T18:00:00+02:00"]);
    assert_eq!(moved["expires_at"], "2999-01-31T16:00:00Z");
    assert!(update(&world, &["fair", "--no-expiry"]).get("expires_at").is_none());
    for (arguments, told) in [
        (&["keys", "create", "--name", "x", "--expires", "2020-01-31"][..], "which is over"),
        (&["keys", "create", "--name", "x", "--expires", "tomorrow"], "a day such as 2027-01-31"),
        (&["keys", "update", "fair", "--expires", "2999-01-31T18:00:00"], "write the offset too"),
        (&["keys", "update", "fair", "--expires", "2020-01-31"], "which is over"),
        (&["keys", "update", "fair", "--period", "day"], "has no budget of its own"),
        (&["keys", "update", "fair", "--budget", "0"], "could call nothing"),
        (&["keys", "update", "fair", "--budget", "5", "--no-budget"], "cannot be used with"),
        (&["keys", "update", "fair"], "hint: name what to change, such as --budget 10"),
        (&["keys", "update", "fair", "--name", "other"], "hint: a key keeps its name"),
    ] {
        let ended = world.folder.run(arguments);
        assert!(ended.code == 2 && ended.stderr.contains(told), "{arguments:?}: {}", ended.stderr);
    }
    assert_eq!(world.folder.run(&["keys", "revoke", "fair"]).code, 0);
    let late = world.folder.run(&["keys", "update", "fair", "--no-expiry"]);
    assert!(late.code == 1 && late.stderr.contains("WFLO-4066"), "{}", late.stderr);
    let said = world.folder.run(&["keys", "create", "--name", "text"]);
    assert_eq!(said.code, 0);
    let said =
        world.folder.run(&["keys", "update", "text", "--budget", "5", "--period", "day", "--rpm", "60"]);
    assert_eq!(said.stdout, "`text` has a budget of $5.00/day, room for 60 requests a minute.\n");
}
