//! `wflo costs price`, `models` and `update`.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::documents::assert_fits;
use super::wflo::Folder;

const USAGE: &str = r#"{"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050,
    "prompt_tokens_details": {"cached_tokens": 200}, "completion_tokens_details": {"reasoning_tokens": 20}}"#;

#[test]
fn a_usage_object_is_priced() {
    let folder = Folder::with(&[("usage.json", USAGE)]);
    assert_snapshot!(folder.shown(&[
        "costs",
        "price",
        "gpt-5-mini",
        "--dialect",
        "openai",
        "--usage",
        "usage.json"
    ]));
}

#[test]
fn the_same_is_said_to_scripts() {
    let folder = Folder::new();
    let arguments =
        ["costs", "price", "openai/gpt-5-mini", "--dialect", "openai", "--service-tier", "flex", "--json"];
    let said = folder.run_with(&arguments, USAGE).stdout;
    assert_fits("costs-price", &said);
    let said: Value = serde_json::from_str(&said).unwrap();
    // Flex costs half.
    assert_eq!(said["total_usd"], "0.0001525");
    assert_eq!((&said["provider"], &said["service_tier"]), (&json!("openai"), &json!("flex")));
}

#[test]
fn what_cannot_be_meant_is_told_with_what_can() {
    let folder = Folder::with(&[("usage.json", USAGE), ("not.json", "[project]\n")]);
    let price = |model: &str, more: &[&str]| {
        folder.run(&[&["costs", "price", model, "--dialect", "openai"], more].concat())
    };
    for (more, code, told) in [
        (&["--usage", "usage.json", "--service-tier", "flx"][..], 2, "there are standard, flex, priority"),
        (&["--usage", "usage.json", "--at", "yesterday"], 2, "write a time such as 2026-11-29T02:00:00Z"),
        (&["--usage", "not.json"], 1, "not.json is no JSON"),
    ] {
        let ended = price("gpt-5-mini", more);
        assert!(ended.code == code && ended.stderr.contains(told), "{more:?}: {}", ended.stderr);
    }
    let mistyped = price("gpt-5-mni", &["--usage", "usage.json"]);
    assert!(mistyped.stderr.contains("did you mean gpt-5-mini"), "{}", mistyped.stderr);
    let part = folder.run(&["costs", "models", "sonet"]).stderr;
    assert!(part.contains("Did you mean ") && part.contains("sonnet"), "{part}");
    let line =
        r#"{"model": "gpt-4o", "dialect": "openai", "service_tier": "flx", "usage": {"prompt_tokens": 1}}"#;
    let refused = folder.run_with(&["costs", "price", "--batch"], line).stdout;
    assert!(refused.contains("no service tier is called flx"), "{refused}");
    let address = folder.run(&["costs", "update", "https://example.com/map.json"]);
    assert!(address.code == 2 && address.stderr.contains("download it first"), "{}", address.stderr);
    for command in [&["costs", "report"][..], &["costs", "reconcile", "usage.json"]] {
        let backwards = folder.run(&[command, &["--since", "2026-11-30", "--until", "2026-11-01"]].concat());
        assert!(backwards.code == 2 && backwards.stderr.contains("is after"), "{}", backwards.stderr);
        let word = folder.run(&[command, &["--since", "yesterday"]].concat());
        assert!(word.code == 2 && word.stderr.contains("a day such as 2026-11-29"), "{}", word.stderr);
    }
}

#[test]
fn names_of_models_are_whole_in_a_pipe() {
    let listed = Folder::new().run(&["costs", "models", "claude-sonnet-4-5"]).stdout;
    let whole = "bedrock/us-gov-east-1/anthropic.claude-sonnet-4-5-20250929-v1:0";
    assert!(whole.len() > 60 && listed.contains(whole), "{listed}");
}

#[test]
fn each_line_of_a_batch_has_a_result_of_its_own() {
    let lines = [
        json!({"model": "gpt-4o", "dialect": "openai", "usage": {"prompt_tokens": 10, "completion_tokens": 1}}),
        json!({"model": "no-such-model", "dialect": "openai", "usage": {"prompt_tokens": 10}}),
        json!({"model": "gpt-4o", "dialect": "openai", "usage": {"prompt_tokens": -1}}),
        json!({"model": "gpt-4o"}),
        json!({"model": "claude-sonnet-4-5", "dialect": "anthropic", "provider": "anthropic",
            "usage": {"input_tokens": 1, "output_tokens": 1, "server_tool_use": {"web_search_requests": 2}}}),
    ];
    let batch = lines.map(|line| line.to_string()).join("\n") + "\nnot json\n";
    for arguments in [
        vec!["costs", "price", "--batch", "batch.jsonl"],
        vec!["costs", "price", "--batch", "--usage", "batch.jsonl", "--json"],
        vec!["costs", "price", "--batch"],
    ] {
        let folder = Folder::with(&[("batch.jsonl", &batch)]);
        let ended = folder.run_with(&arguments, &batch);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.stdout.lines().for_each(|line| assert_fits("costs-price", line));
        let said: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let result = |line: &Value| match line["error"]["code"].as_str() {
            Some(code) => code.to_owned(),
            None => line["total_usd"].as_str().unwrap().to_owned(),
        };
        let results: Vec<String> = said.iter().map(result).collect();
        assert_eq!(results, ["0.000035", "WFLO-4042", "WFLO-4043", "WFLO-4044", "0.020018", "WFLO-4044"]);
        let numbers: Vec<u64> = said.iter().map(|line| line["line"].as_u64().unwrap()).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    }
}

#[test]
fn the_operators_price_counts_in_every_dimension() {
    let settings = r#"
[models."gpt-4o"]
input = "1"
output = "2"
rates = { reasoning = "3", web_searches = "0.5" }

[models."gpt-4o".tiers.flex]
input = "0.25"

[models."gpt-4o".above.100]
output = "8"
"#;
    let folder = Folder::with(&[("wflo.toml", settings)]);
    let price = |usage: &Value, tier: &[&str]| {
        let arguments = [&["costs", "price", "gpt-4o", "--dialect", "openai", "--json"], tier].concat();
        let ended = folder.run_with(&arguments, &usage.to_string());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let said: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(said["source"], "operator");
        said["total_usd"].as_str().unwrap().to_owned()
    };
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 100, "num_search_queries": 1, "cost": 99,
        "completion_tokens_details": {"reasoning_tokens": 10}});
    assert_eq!(price(&usage, &[]), "0.50031", "100 and 90 × 2 and 10 × 3 millionths, and a search");
    assert_eq!(price(&usage, &["--service-tier", "flex"]), "0.500235");
    let long = json!({"prompt_tokens": 101, "completion_tokens": 100});
    assert_eq!(price(&long, &[]), "0.000901");
}

#[test]
fn the_models_are_listed_and_their_origin_is_told() {
    let folder = Folder::new();
    let listed = folder.run(&["costs", "models", "claude-sonnet-4-5", "--json"]).stdout;
    listed.lines().for_each(|line| assert_fits("costs-models", line));
    assert!(listed.contains(r#""model":"claude-sonnet-4-5""#), "{listed}");
    let about = folder.run(&["costs", "models", "--about", "--json"]).stdout;
    assert_fits("costs-models", &about);
    assert_snapshot!(folder.shown(&["costs", "models", "--about"]));
    assert_eq!(folder.run(&["costs", "models", "no such model"]).code, 0);
}

#[test]
fn a_newer_map_is_used_until_it_is_taken_back() {
    let folder = Folder::with(&[("usage.json", USAGE)]);
    let map = include_str!("../../../wflo-gateway/prices/model_prices.json");
    let whole = map;
    let mut newer: Value = serde_json::from_str(map).unwrap();
    newer["gpt-5-mini"]["input_cost_per_token"] = json!(0.001);
    folder.write("newer.json", &newer.to_string());
    folder.write("half.json", &newer.to_string()[..100_000]);
    newer["gpt-5-mini"]["output_cost_per_token"] = json!(-1.0);
    folder.write("wrong.json", &newer.to_string());
    folder.write(
        "few.json",
        r#"{"m": {"input_cost_per_token": 1e-6, "litellm_provider": "openai", "mode": "chat"}}"#,
    );
    let total = || {
        let arguments =
            ["costs", "price", "gpt-5-mini", "--dialect", "openai", "--usage", "usage.json", "--json"];
        let said: Value = serde_json::from_str(&folder.run(&arguments).stdout).unwrap();
        said["total_usd"].as_str().unwrap().to_owned()
    };
    let hash = || {
        let about: Value =
            serde_json::from_str(&folder.run(&["costs", "models", "--about", "--json"]).stdout).unwrap();
        about["hash"].as_str().unwrap().to_owned()
    };
    let (built_in, price) = (hash(), total());
    let refused = |file: &str| {
        let ended = folder.run(&["costs", "update", file, "--json"]);
        assert!(
            ended.code == 1 && ended.stdout.contains("WFLO-4041"),
            "{file}: {} {}",
            ended.stdout,
            ended.stderr
        );
    };
    ["half.json", "wrong.json", "few.json"].into_iter().for_each(refused);
    assert_eq!((hash(), total()), (built_in.clone(), price.clone()));

    let updated = folder.run(&["costs", "update", "newer.json", "--json"]);
    assert_fits("costs-update", &updated.stdout);
    assert!(updated.stdout.contains(r#""changed":true"#), "{}", updated.stdout);
    assert_eq!(total(), "0.800105", "800 tokens at 0.001 USD");
    let newer = hash();
    assert_ne!(newer, built_in);
    refused("half.json");
    assert_eq!(hash(), newer, "a refused map changes nothing");

    // Nor one in which a model became free, a price is no number, a model stands twice, or a name acts on a terminal.
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut map: Value = serde_json::from_str(whole).unwrap();
        edit(&mut map);
        folder.write("edited.json", &map.to_string());
        folder.run(&["costs", "update", "edited.json", "--json"])
    };
    for (key, price) in [("input_cost_per_token", Value::Null), ("output_cost_per_token", 0.into())] {
        let freed = edited(&|map| map["gpt-5-mini"][key] = price.clone());
        assert!(freed.code == 1 && freed.stdout.contains("WFLO-4121"), "{} {}", freed.stdout, freed.stderr);
        assert!(
            freed.stdout.contains("gpt-5-mini") && freed.stdout.contains("--accept-free"),
            "{}",
            freed.stdout
        );
    }
    for edit in [
        &|map: &mut Value| map["gpt-5-mini"]["input_cost_per_token"] = "free".into(),
        &|map: &mut Value| map["gpt-5-mini"]["input_cost_per_token"] = "-1e-6".into(),
        &|map: &mut Value| map["\u{1b}[2Jgpt"] = map["gpt-5-mini"].clone(),
    ] as [&dyn Fn(&mut Value); 3]
    {
        let ended = edited(edit);
        assert!(ended.code == 1 && ended.stdout.contains("WFLO-4041"), "{} {}", ended.stdout, ended.stderr);
        assert!(!ended.stdout.contains('\u{1b}') && !ended.stderr.contains('\u{1b}'));
    }
    folder.write("twice.json", &whole.replacen('{', r#"{"gpt-5-mini": {},"#, 1));
    refused("twice.json");
    assert_eq!(hash(), newer);
    // A text that is a number is one.
    assert_eq!(edited(&|map| map["gpt-5-mini"]["input_cost_per_token"] = "0.001".into()).code, 0);
    assert_eq!(total(), "0.800105");
    let free = |map: &mut Value| map["gpt-5-mini"]["input_cost_per_token"] = 0.into();
    assert_eq!(edited(&free).code, 1);
    assert_eq!(folder.run(&["costs", "update", "edited.json", "--accept-free"]).code, 0);
    // What is no file, or no end of one, is not read.
    let sparse = std::fs::File::create(folder.path().join("sparse.json")).unwrap();
    sparse.set_len(3 << 30).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("pipe"), rustix::fs::Mode::RWXU).unwrap();
    for file in ["sparse.json", "pipe", "/dev/zero", "."] {
        let ended = folder.run(&["costs", "update", file, "--json"]);
        assert!(ended.code == 1 && ended.stdout.contains("WFLO-4040"), "{file}: {}", ended.stdout);
    }

    // A map that was damaged since is not used, and can be taken back.
    folder.write(".wflo/prices/model_prices.json", "{");
    let damaged =
        folder.run(&["costs", "price", "gpt-5-mini", "--dialect", "openai", "--usage", "usage.json"]);
    assert!(damaged.stderr.contains("WFLO-4041") && damaged.stderr.contains("--reset"), "{}", damaged.stderr);
    assert_eq!(folder.run(&["costs", "update", "--reset"]).code, 0);
    assert_eq!((hash(), total()), (built_in, price));
}
