//! What whoever runs a gateway is told: what stands in its settings, what is missing, what is nonsense.

use super::*;

/// The first block of TOML behind this heading of a guide.
fn block(page: &str, heading: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides").join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let rest = text.split_once(heading).unwrap().1.split_once("```toml\n").unwrap().1;
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn what_the_guides_show_of_providers_starts() {
    for (page, heading) in [
        ("routing.md", "## Going elsewhere"),
        ("models.md", "### More than one account, and other addresses"),
        ("gateway.md", "## All of it in one file"),
    ] {
        let world = World::new("");
        world.folder.write("wflo.toml", &block(page, heading));
        world.start().drain();
    }
}

#[test]
fn a_gateway_that_would_be_its_own_provider_does_not_start_and_takes_no_such_settings_over() {
    // Not one of those that the kernel gives to whoever asks for any, as the tests beside this one do.
    let first = 10_000 + u16::try_from(std::process::id() % 20_000).unwrap();
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let free = (first..32_000).find(is_free).unwrap();
    let own = format!("http://localhost:{free}/v1");
    let folder = Folder::new().setting("OPENAI_BASE_URL", &own);
    let refused = folder.run(&["gateway", "--listen", &format!("127.0.0.1:{free}")]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("WFLO-4130") && refused.stderr.contains("OPENAI_BASE_URL"),
        "{}",
        refused.stderr
    );
    let world = World::new("");
    let mut gateway = world.start();
    let itself =
        format!("[providers.me]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:{}\"\n", gateway.port);
    world.folder.write("wflo.toml", &itself);
    let failed = gateway.hears("gateway.reload_failed");
    assert_eq!(failed["errors"][0]["code"], "WFLO-4130", "{failed}");
    assert_eq!(gateway.chat().status, 200, "the settings from before stay");
    gateway.drain();
}

#[test]
fn a_gateway_says_where_its_data_are_and_which_keys_are_missing() {
    let world = World::new("");
    let path = world.folder.path();
    let both =
        "[providers.company]\ndialect = \"openai\"\napi_key_env = \"COMPANY_KEY\"\nprices = \"openai\"\n";
    world.folder.write("wflo.toml", both);
    let arguments = ["gateway", "--listen", "127.0.0.1:0", "--json", "--threads", "2"];
    let mut child = world.folder.start(&arguments);
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let first = line(&mut lines);
    assert_eq!(first["data_dir"], path.join(".wflo").display().to_string(), "{first}");
    assert_eq!(first["settings"], path.join("wflo.toml").display().to_string(), "{first}");
    let missing = line(&mut lines);
    let told = (&missing["type"], &missing["provider"], &missing["variable"]);
    assert_eq!(told, (&"gateway.key_missing".into(), &"company".into(), &"COMPANY_KEY".into()), "{missing}");
    let port = first["address"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    let gateway = Gateway { child, port, lines };
    // It is nothing of the request, so it is no 400.
    let got = gateway.send("/v1/chat/completions", "", &CHAT.replace("smol", "gpt-5-mini"));
    assert_eq!((got.status, got.json()["error"]["code"].as_str()), (503, Some("WFLO-4021")), "{}", got.body);
    gateway.drain();
}

#[test]
fn behind_what_speaks_tls_a_gateway_serves_plain_http_to_whoever_has_a_key() {
    let world = World::new("");
    let arguments = ["gateway", "--listen", "0.0.0.0:0", "--json", "--threads", "2", "--plain-http"];
    let refused = world.folder.run(&arguments);
    assert!(refused.code == 1 && refused.stderr.contains("there is no key"), "{}", refused.stderr);
    let made: Value = serde_json::from_str(&world.folder.run(&["keys", "create", "--json"]).stdout).unwrap();
    let mut child = world.folder.start(&arguments);
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let first = line(&mut lines);
    let port = first["address"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    let gateway = Gateway { child, port, lines };
    assert_eq!(gateway.chat().status, 401);
    let bearer = format!("authorization: Bearer {}\r\n", made["key"].as_str().unwrap());
    assert_eq!(gateway.send("/v1/chat/completions", &bearer, CHAT).status, 200);
    gateway.drain();
}

#[test]
fn keys_that_can_only_be_slips_are_not_made_or_are_said_to_be() {
    let world = World::new("");
    let create = |more: &[&str]| world.folder.run(&[&["keys", "create"], more].concat());
    let made = create(&["--name", "ci", "--models", "smol,quick,smo*"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(made.stderr.contains("wflo.db") && !made.stderr.contains("warning"), "{}", made.stderr);
    let again = create(&["--name", "ci"]);
    assert!(again.code == 2 && again.stderr.contains("WFLO-4131"), "{}", again.stderr);
    for nonsense in [&["--models", ""][..], &["--models", "gpt-*-mini"], &["--budget", "0"]] {
        let refused = create(&[&["--name", "other"], nonsense].concat());
        assert_eq!(refused.code, 2, "{nonsense:?}: {}", refused.stderr);
    }
    let slip = create(&["--name", "slip", "--models", "smoll", "--rpm", "60"]);
    assert!(
        slip.code == 0 && slip.stderr.contains("no provider here serves a model `smoll`"),
        "{}",
        slip.stderr
    );
    let listed = world.folder.run(&["keys", "list"]);
    assert!(listed.stdout.contains("smoll") && listed.stdout.contains("RPM"), "{}", listed.stdout);
    assert_eq!(world.folder.run(&["keys", "revoke", "ci"]).code, 0);
    assert_eq!(create(&["--name", "ci"]).code, 0, "a name is free again once its key is gone");
}

#[test]
fn each_call_is_a_line_of_the_log_where_one_is_wanted() {
    let world = World::new("");
    let made: Value =
        serde_json::from_str(&world.folder.run(&["keys", "create", "--name", "ci", "--json"]).stdout)
            .unwrap();
    let secret = made["key"].as_str().unwrap();
    let bearer = format!("authorization: Bearer {secret}\r\n");
    let arguments = ["gateway", "--listen", "127.0.0.1:0", "--json", "--threads", "2", "--log"];
    let mut child = world.folder.start(&arguments);
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let port = line(&mut lines)["address"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    let mut gateway = Gateway { child, port, lines };
    assert_eq!(gateway.send("/v1/chat/completions", &bearer, CHAT).status, 200);
    let call = gateway.hears("gateway.call");
    assert_eq!(
        (&call["key"], &call["provider"], &call["model"]),
        (&"ci".into(), &"local".into(), &"smol".into())
    );
    assert_eq!((call["status"].as_u64(), call["input_tokens"].as_u64()), (Some(200), Some(10)), "{call}");
    assert_eq!(nanos(&call["cost_usd"]), BILL);
    assert_eq!(gateway.chat().status, 401);
    let refused = gateway.hears("gateway.call");
    assert_eq!((refused["status"].as_u64(), &refused["code"]), (Some(401), &"WFLO-4065".into()), "{refused}");
    let unpriced = gateway.send("/v1/chat/completions", &bearer, &CHAT.replace("smol", "unheard-of"));
    let told = gateway.hears("gateway.call");
    assert_eq!(
        (&told["model"], &told["code"]),
        (&"unheard-of".into(), &"WFLO-4002".into()),
        "{}",
        unpriced.body
    );
    assert!(![&call, &refused, &told].iter().any(|line| line.to_string().contains(secret)));
    gateway.drain();
    // And as text, where the settings want it.
    let text = format!("{}\n[gateway]\nlog = true\n", world.folder.read("wflo.toml"));
    world.folder.write("wflo.toml", &text);
    let mut child = world.folder.start(&["gateway", "--listen", "127.0.0.1:0", "--threads", "1"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    std::io::BufRead::read_line(&mut lines, &mut first).unwrap();
    let port = first.trim().rsplit(':').next().unwrap().parse().unwrap();
    let mut said = child.stderr.take().unwrap();
    let gateway = Gateway { child, port, lines };
    assert_eq!(gateway.send("/v1/chat/completions", &bearer, CHAT).status, 200);
    gateway.drain();
    let mut text = String::new();
    said.read_to_string(&mut text).unwrap();
    assert!(text.contains(" ci local/smol 200 in=10 out=5 $0.00002 "), "{text}");
}

#[test]
fn what_is_typed_wrong_is_answered_with_what_to_type() {
    let folder = Folder::new();
    for (arguments, told) in [
        (&["gateway", "--drain", "soon"][..], "such as 90s or 2m"),
        (&["gateway", "--listen", "192.0.2.1:4000"], "no address of this machine"),
        (&["gateway", "--port", "4000"], "`wflo gateway --listen 127.0.0.1:4000`"),
        (&["gateway", "--port=4000"], "`wflo gateway --listen 127.0.0.1:4000`"),
        (&["gateway", "--config", "wflo.toml"], "settings come from wflo.toml in the project's folder"),
        (&["gateway", "--num_workers", "8"], "`--threads N`"),
        (&["gateway", "--thread", "8"], "did you mean `--threads`?"),
        (&["keys", "create", "--rpm", "many"], "such as 60"),
        (&["keys", "revoke", "nope"], "`nope`"),
        (&["keys", "revoke", "sk-wflo-000000000000"], "no such key ["),
    ] {
        let ended = folder.run(arguments);
        assert!(ended.code != 0 && ended.stderr.contains(told), "{arguments:?}: {}", ended.stderr);
    }
    for (text, told) in [
        ("[models.\"gpt-*\"]\ninput = \"1\"\noutput = \"1\"\n", "stands for nothing here"),
        ("[limits.x]\nprovider = \"opnai\"\nconcurrent = 1\n", "did you mean `openai`?"),
    ] {
        folder.write("wflo.toml", text);
        let ended = folder.run(&["gateway", "--listen", "127.0.0.1:0"]);
        assert!(ended.code == 2 && ended.stderr.contains(told), "{}", ended.stderr);
    }
}

#[test]
fn a_mistake_is_told_with_its_line_also_while_the_gateway_runs() {
    let world = World::new("");
    let mut gateway = world.start();
    world.folder.write("wflo.toml", "[budget\nmax_cost_usd = 5\n");
    let failed = gateway.hears("gateway.reload_failed");
    assert_eq!(failed["errors"][0]["place"], "wflo.toml:1", "{failed}");
    world.folder.write("wflo.toml", "[models.\"gpt-5\"]\nfalbacks = [\"gpt-5-mini\"]\n");
    let failed = gateway.hears("gateway.reload_failed");
    let hint = failed["errors"][0]["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("fallbacks"), "{failed}");
    gateway.drain();
}
