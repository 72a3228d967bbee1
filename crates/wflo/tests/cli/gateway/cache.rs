//! `[cache]` at the standalone gateway: whose answers, what is counted, and what survives what.

use wflo_testkit::redis_server::RedisServer;

use super::*;

const MEMORY: &str = "[cache]\nbackend = \"memory\"\n";

impl World {
    fn caching(budget: &str, cache: &str) -> World {
        let world = World::new(budget);
        world.cache(cache, budget);
        world
    }

    /// The settings anew, with this behind them.
    fn cache(&self, cache: &str, budget: &str) {
        self.configure(budget, "2");
        let before = std::fs::read_to_string(self.folder.path().join("wflo.toml")).unwrap();
        self.folder.write("wflo.new", &format!("{before}{cache}"));
        std::fs::rename(self.folder.path().join("wflo.new"), self.folder.path().join("wflo.toml")).unwrap();
    }

    fn key(&self, name: &str) -> String {
        let made = self.folder.run(&["keys", "create", "--name", name, "--json"]);
        assert_eq!(made.code, 0, "{}", made.stderr);
        let made: Value = serde_json::from_str(made.stdout.lines().last().unwrap()).unwrap();
        made["key"].as_str().unwrap().to_owned()
    }
}

impl Gateway {
    fn asks(&self, key: &str) -> Got {
        self.send("/v1/chat/completions", &format!("authorization: Bearer {key}\r\n"), CHAT)
    }
}

impl Got {
    fn said(&self) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix("wflo-cache: "));
        line.unwrap_or_default()
    }
}

#[test]
fn a_key_is_given_what_it_paid_for_and_reports_say_what_was_saved() {
    let world = World::caching("1", MEMORY);
    let keys = [world.key("one"), world.key("other")];
    let gateway = world.start();
    let said: Vec<String> = [&keys[0], &keys[0], &keys[1], &keys[1]]
        .iter()
        .map(|key| {
            let got = gateway.asks(key);
            assert_eq!(
                (got.status, got.json()["choices"][0]["message"]["content"].as_str()),
                (200, Some("fine"))
            );
            got.said().to_owned()
        })
        .collect();
    assert_eq!(said, ["miss", "hit", "miss", "hit"], "no key is given what another paid for");
    let metrics = gateway.get("/metrics").body;
    for wanted in [
        "wflo_gateway_cache_lookups_total{result=\"hit\"} 2\n",
        "wflo_gateway_cache_lookups_total{result=\"miss\"} 2\n",
        "wflo_gateway_cache_stored_total 2\n",
        "wflo_gateway_cache_failures_total 0\n",
        "wflo_gateway_cache_entries 2\n",
        "wflo_gateway_cache_saved_usd_total{key=\"one\"} 0.000020000\n",
        "wflo_gateway_cost_usd_total{key=\"one\"} 0.000020000\n",
    ] {
        assert!(metrics.contains(wanted), "{wanted} is not in\n{metrics}");
    }
    gateway.drain();
    assert_eq!((world.charged(), world.mock.counts().requests), ((2 * BILL, 0), 2));
    let total = world.report();
    assert_eq!((total["calls"].as_u64(), total["cache_hits"].as_u64()), (Some(4), Some(2)), "{total}");
    assert_eq!((nanos(&total["saved_usd"]), total["input_tokens"].as_u64()), (2 * BILL, Some(20)));
    let table = world.folder.run(&["costs", "report", "--by", "model"]).stdout;
    assert!(table.contains("KEPT") && table.contains("SAVED"), "{table}");
    let csv = world.folder.run(&["costs", "report", "--by", "model", "--csv"]).stdout;
    assert!(csv.lines().nth(1).unwrap().ends_with(",2,0.00004,0,0.00"), "{csv}");
}

#[test]
fn a_hit_needs_no_room_in_a_budget_and_no_provider() {
    // Room for one call: what it may cost at most.
    let limit = wflo_core::money::NanoUsd::from_nanos(BOUND + BILL / 2).to_string();
    let world = World::caching(&limit, MEMORY);
    let gateway = world.start();
    assert_eq!(gateway.chat().said(), "miss");
    let other = gateway.send("/v1/chat/completions", "", &CHAT.replace("hello", "bye"));
    assert_eq!(other.status, 402, "{}", other.body);
    world.mock.fault_always(Some(Fault::Status(500, "{}".into(), None)));
    let hit = gateway.chat();
    assert_eq!((hit.status, hit.said()), (200, "hit"));
    assert!(hit.head.contains("\r\nwflo-cost-usd: 0.00\r\n"), "{}", hit.head);
    gateway.drain();
    assert_eq!(world.charged(), (BILL, 0));
}

#[test]
fn what_is_kept_outlives_settings_that_leave_the_cache_alone() {
    let world = World::caching("1", MEMORY);
    let mut gateway = world.start();
    assert_eq!(gateway.chat().said(), "miss");
    world.cache(MEMORY, "2");
    gateway.hears("gateway.reloaded");
    assert_eq!(gateway.chat().said(), "hit");
    world.cache("[cache]\nbackend = \"memory\"\nttl_seconds = 60\n", "2");
    gateway.hears("gateway.reloaded");
    assert_eq!(gateway.chat().said(), "miss", "another cache");
    world.configure("2", "2");
    gateway.hears("gateway.reloaded");
    assert_eq!(gateway.chat().said(), "", "none any more");
    gateway.drain();
}

#[test]
fn gateways_share_a_redis_and_go_on_without_it() {
    let mut server = RedisServer::start(&[]).unwrap();
    let cache = format!(
        "[cache]\nbackend = \"redis\"\nurl = \"{}\"\nnamespace = \"t\"\nwait_seconds = 10\n",
        server.url()
    );
    let world = World::caching("1", &cache);
    let doctor = world.folder.run(&["doctor"]).stdout;
    assert!(doctor.contains("redis+unix://") && doctor.contains("answers"), "{doctor}");
    let [one, other] = [world.start(), world.start()];
    assert_eq!(one.chat().said(), "miss");
    until("another gateway finds it", || other.chat().said() == "hit");
    // A kill between an answer and its being kept costs a call and nothing else.
    other.kill();
    assert_eq!(one.chat().said(), "hit");
    server.kill();
    let without = one.chat();
    assert_eq!((without.status, without.said()), (200, "miss"));
    let metrics = one.get("/metrics").body;
    assert!(!metrics.contains("wflo_gateway_cache_failures_total 0\n"), "{metrics}");
    let doctor = world.folder.run(&["doctor"]).stdout;
    assert!(doctor.contains("does not answer"), "{doctor}");
    one.drain();
}
