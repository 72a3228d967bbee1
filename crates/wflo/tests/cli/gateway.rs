//! `wflo gateway` as clients and operators meet it, and what is left when it is killed.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;
use wflo_testkit::model_server::{Answer, Fault, ModelServer};

use super::documents::assert_fits;
use super::wflo::Folder;

mod cache;
mod keys_update;
mod operating;
mod reload;

/// What one call of [`CHAT`] is billed: 10 tokens in, 5 out, at 1 and 2 USD per million.
pub(super) const BILL: i64 = 10_000 + 2 * 5_000;

/// What it could cost: the whole window of 1,000 tokens, and 100 with some end marks.
pub(super) const BOUND: i64 = 1_000_000 + 2 * 108_000;

pub(super) const CHAT: &str =
    r#"{"model":"smol","max_tokens":100,"messages":[{"role":"user","content":"hello"}]}"#;

pub(super) struct World {
    pub(super) folder: Folder,
    pub(super) mock: ModelServer,
}

/// A gateway that runs.
pub(super) struct Gateway {
    pub(super) child: Child,
    pub(super) port: u16,
    lines: BufReader<std::process::ChildStdout>,
}

/// An answer.
struct Got {
    status: u16,
    head: String,
    body: String,
}

impl World {
    pub(super) fn new(budget: &str) -> World {
        let mock = ModelServer::start().unwrap();
        mock.answer_always(Answer { text: Some("fine".into()), ..Answer::billed(10, 5) });
        let world = World { folder: Folder::new(), mock };
        world.configure(budget, "2");
        world
    }

    fn configure(&self, budget: &str, output: &str) {
        let budget = match budget {
            "" => String::new(),
            limit => format!("[budget]\nmax_cost_usd = \"{limit}\"\n"),
        };
        let text = format!(
            "[providers.local]\ndialect = \"openai\"\nbase_url = \"{}\"\n[models.smol]\nprovider = \"local\"\ninput = \"1\"\noutput = \"{output}\"\ncontext_tokens = 1000\nmax_output_tokens = 500\n[aliases]\nquick = \"smol\"\n{budget}",
            self.mock.openai_url()
        );
        // As an editor does it: never half of a file.
        self.folder.write("wflo.new", &text);
        std::fs::rename(self.folder.path().join("wflo.new"), self.folder.path().join("wflo.toml")).unwrap();
    }

    pub(super) fn start(&self) -> Gateway {
        self.start_under(&[])
    }

    pub(super) fn start_under(&self, variables: &[(&str, &str)]) -> Gateway {
        let arguments = ["gateway", "--listen", "127.0.0.1:0", "--json", "--threads", "2"];
        let mut child = self.folder.start_under(&arguments, variables);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let first = line(&mut lines);
        let address = first["address"].as_str().unwrap_or_else(|| panic!("{first}"));
        let port = address.rsplit(':').next().unwrap().parse().unwrap();
        Gateway { child, port, lines }
    }

    fn report(&self) -> Value {
        let ended = self.folder.run(&["costs", "report", "--by", "model", "--json"]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let last = ended.stdout.lines().last().unwrap();
        serde_json::from_str(last).unwrap()
    }

    /// What reports say was charged, and what of it is uncertain, in nano-USD.
    pub(super) fn charged(&self) -> (i64, i64) {
        let total = self.report();
        (nanos(&total["cost_usd"]), nanos(&total["uncertain_usd"]))
    }
}

pub(super) fn nanos(amount: &Value) -> i64 {
    amount.as_str().unwrap().parse::<wflo_core::money::NanoUsd>().unwrap().nanos()
}

fn line(lines: &mut impl std::io::BufRead) -> Value {
    let mut text = String::new();
    lines.read_line(&mut text).unwrap();
    let line = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no line of JSON: {text:?}"));
    assert_fits("gateway", &text);
    line
}

impl Gateway {
    fn send(&self, path: &str, headers: &str, body: &str) -> Got {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        raw(self.port, request.as_bytes())
    }

    fn get(&self, path: &str) -> Got {
        raw(
            self.port,
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes(),
        )
    }

    fn chat(&self) -> Got {
        self.send("/v1/chat/completions", "", CHAT)
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Ends as an operator ends it.
    pub(super) fn drain(mut self) {
        self.signal(rustix::process::Signal::TERM);
        assert!(self.child.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn hears(&mut self, wanted: &str) -> Value {
        loop {
            let said = line(&mut self.lines);
            if said["type"] == wanted {
                return said;
            }
        }
    }
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }
}

/// One exchange on a connection of its own; status 0 where the connection broke before an answer.
fn raw(port: u16, request: &[u8]) -> Got {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // A server that refuses may close before all of it is sent.
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Got { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

pub(super) fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !ready() {
        assert!(Instant::now() < deadline, "{what} did not come in 120 s");
        std::thread::yield_now();
    }
}

#[test]
fn clients_of_every_dialect_are_served_on_one_address_and_the_books_are_right() {
    let world = World::new("1");
    let gateway = world.start();
    let answer = gateway.chat();
    assert_eq!(
        (answer.status, answer.json()["choices"][0]["message"]["content"].as_str()),
        (200, Some("fine"))
    );
    assert!(answer.head.contains("\r\nwflo-cost-usd: 0.00002\r\n"), "{}", answer.head);
    let streamed = CHAT.replacen('{', r#"{"stream":true,"#, 1);
    let stream = gateway.send("/openai/v1/chat/completions", "authorization: Bearer anything\r\n", &streamed);
    assert!(stream.status == 200 && stream.body.contains("[DONE]"), "{}", stream.body);
    // What it will have cost is not known when its head goes.
    let held = format!("\r\nwflo-held-usd: {}\r\n", wflo_core::money::NanoUsd::from_nanos(BOUND));
    assert!(stream.head.contains(&held) && !stream.head.contains("wflo-cost"), "{}", stream.head);
    assert_eq!(gateway.get("/health/live").status, 200);
    assert_eq!(gateway.get("/health/ready").status, 200);
    let metrics = gateway.get("/metrics");
    assert!(metrics.body.contains("wflo_gateway_requests_total{status=\"2xx\"} 2\n"), "{}", metrics.body);
    assert!(metrics.body.contains("wflo_gateway_overshoots_total 0\n"));
    let unknown = gateway.send("/v1/messages", "", r#"{"model":"smol","max_tokens":5,"messages":[]}"#);
    assert_eq!(unknown.json()["type"], "error", "an Anthropic client gets Anthropic's shape");
    assert!(!gateway.get("/v1/models").head.contains("wflo-"), "a list costs nothing");
    gateway.drain();
    assert_eq!(world.charged(), (2 * BILL, 0));
    assert_eq!(world.mock.counts().billed, 2);
    // No credential of a client went on.
    assert!(world.mock.seen().iter().all(|seen| !seen.headers.contains_key("authorization")));
}

#[test]
fn a_budget_is_never_passed_by_two_gateways_and_used_by_both() {
    // Room for 40 bills; the bound of a call is much larger than its bill.
    let limit = 40 * BILL + BOUND;
    let world = World::new(&wflo_core::money::NanoUsd::from_nanos(limit).to_string());
    let gateways = [world.start(), world.start()];
    let counts = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|n| {
                let gateway = &gateways[n % 2];
                scope.spawn(move || {
                    let mut answered = 0;
                    loop {
                        match gateway.chat().status {
                            200 => answered += 1,
                            402 => return answered,
                            other => panic!("{other}"),
                        }
                    }
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<i64>>()
    });
    let mut answered: i64 = counts.iter().sum();
    // What one has at hand is the other's once it is asked for, which a busy machine takes its time over.
    until("the use of about 40 calls that fit", || {
        for gateway in &gateways {
            if answered < 38 {
                answered += i64::from(gateway.chat().status == 200);
            }
        }
        answered >= 38
    });
    assert_eq!(world.mock.counts().billed as i64, answered);
    assert!(answered * BILL <= limit, "{answered} calls");
    gateways.into_iter().for_each(Gateway::drain);
    assert_eq!(world.charged(), (answered * BILL, 0));
}

#[test]
fn what_was_under_way_at_a_kill_is_charged_in_full_and_what_had_ended_as_billed() {
    let world = World::new("1");
    let gateway = world.start();
    assert_eq!(gateway.chat().status, 200);
    world.mock.hold();
    let port = gateway.port;
    let waits = std::thread::spawn(move || {
        let length = CHAT.len();
        raw(
            port,
            format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{CHAT}"
            )
            .as_bytes(),
        )
    });
    until("the request", || world.mock.counts().requests == 2);
    gateway.kill();
    assert_eq!(waits.join().unwrap().status, 0);
    world.mock.release();
    let next = world.start();
    let (charged, uncertain) = world.charged();
    assert!(uncertain > BILL, "the bound of the call that was sent: {uncertain}");
    assert_eq!(charged, BILL + uncertain);
    assert_eq!(next.chat().status, 200);
    next.drain();
    assert_eq!(world.charged(), (2 * BILL + uncertain, uncertain));
}

/// A stream that has begun and goes no further.
fn stuck(world: &World, gateway: &Gateway) -> TcpStream {
    world.mock.fault_next(Fault::HangAfter(2));
    let streamed = CHAT.replacen('{', r#"{"stream":true,"#, 1);
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    let length = streamed.len();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{streamed}"
    )
    .unwrap();
    let mut first = [0; 16];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first[..12], b"HTTP/1.1 200");
    stream
}

#[test]
fn lost_bills_are_one_line_until_they_are_asked_for() {
    let world = World::new("1");
    let gateway = world.start();
    let _streams = [stuck(&world, &gateway), stuck(&world, &gateway)];
    gateway.kill();
    let said = |more: &[&str]| world.folder.run(&[&["costs", "report"], more].concat()).stderr;
    let short = said(&[]);
    assert_eq!(short.matches("uncertain:").count(), 1, "{short}");
    assert!(short.contains("the bills of 2 calls were lost") && short.contains("--uncertain"), "{short}");
    let each = said(&["--uncertain"]);
    assert_eq!(each.matches(": its bill was lost, so $").count(), 2, "{each}");
}

#[test]
fn circles_are_warned_of_without_any_flag() {
    let world = World::new("");
    let warns = world.folder.read("wflo.toml") + "\n[repeats]\nsame = 3\naction = \"warn\"\n";
    world.folder.write("wflo.toml", &warns);
    let mut gateway = world.start();
    let mut stderr = gateway.child.stderr.take().unwrap();
    for _ in 0..3 {
        assert_eq!(gateway.chat().status, 200);
    }
    gateway.drain();
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(said.contains("makes the same call again and again"), "{said}");
}

#[test]
fn a_stream_that_a_kill_cuts_is_charged_in_full() {
    let world = World::new("1");
    let gateway = world.start();
    let _stream = stuck(&world, &gateway);
    gateway.kill();
    world.start().drain();
    let (charged, uncertain) = world.charged();
    assert!(uncertain > BILL && charged == uncertain, "{charged}, {uncertain}");
}

#[test]
fn a_client_that_goes_pays_what_its_call_was_billed() {
    let world = World::new("1");
    let gateway = world.start();
    world.mock.hold();
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    let length = CHAT.len();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{CHAT}"
    )
    .unwrap();
    until("the request", || world.mock.counts().requests == 1);
    drop(stream);
    // Another goes before its body is there: nothing of it is sent.
    let mut half = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    write!(
        half,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{{"
    )
    .unwrap();
    drop(half);
    world.mock.release();
    gateway.drain();
    assert_eq!((world.charged(), world.mock.counts().requests), ((BILL, 0), 1));
}

#[test]
fn a_drain_lets_running_calls_end_and_takes_no_new_ones() {
    let world = World::new("1");
    let mut gateway = world.start();
    world.mock.hold();
    std::thread::scope(|scope| {
        let port = gateway.port;
        let running = scope.spawn(move || {
            let length = CHAT.len();
            raw(
                port,
                format!(
                    "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{CHAT}"
                )
                .as_bytes(),
            )
        });
        until("the request", || world.mock.counts().requests == 1);
        gateway.signal(rustix::process::Signal::TERM);
        gateway.hears("gateway.draining");
        // Whoever looks, or calls, is told that it ends, for as long as something is under way.
        until("the word that it drains", || gateway.get("/health/ready").body.trim() == "draining");
        assert_eq!(gateway.get("/health/ready").status, 503);
        let refused = gateway.chat();
        assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (503, Some("WFLO-4014")));
        assert!(refused.head.to_lowercase().contains("x-should-retry: true"), "{}", refused.head);
        world.mock.release();
        assert_eq!(running.join().unwrap().status, 200);
    });
    assert!(gateway.child.wait().unwrap().success());
    assert_eq!(world.charged(), (BILL, 0));
}

#[test]
fn keys_say_who_may_what_and_end_at_once() {
    let world = World::new("");
    let mut gateway = world.start();
    assert_eq!(gateway.chat().status, 200, "anybody, as long as there is no key");
    let create = |more: &[&str]| {
        let ended = world.folder.run(&[&["keys", "create", "--json"], more].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert_fits("keys", &ended.stdout);
        serde_json::from_str::<Value>(&ended.stdout).unwrap()
    };
    let ci = create(&["--name", "ci", "--budget", "0.0014", "--period", "day"]);
    gateway.hears("gateway.keys_wanted");
    let refused = gateway.chat();
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (401, Some("WFLO-4065")));
    let with = |key: &Value| {
        let bearer = format!("authorization: Bearer {}\r\n", key["key"].as_str().unwrap());
        gateway.send("/v1/chat/completions", &bearer, CHAT)
    };
    assert_eq!(with(&ci).status, 200);
    let narrow = create(&["--name", "narrow", "--models", "gpt-*"]);
    until("the key", || with(&narrow).status != 401);
    assert_eq!(with(&narrow).json()["error"]["code"], "WFLO-4067");
    let scrapes = create(&["--name", "prometheus", "--metrics"]);
    until("the key", || with(&scrapes).status != 401);
    assert_eq!(with(&scrapes).json()["error"]["code"], "WFLO-4067");
    // A key for an alias calls by that name alone, and is told of no other.
    let alias = create(&["--name", "alias", "--models", "quick"]);
    until("the key", || with(&alias).status != 401);
    assert_eq!(with(&alias).json()["error"]["code"], "WFLO-4067");
    let bearer = format!("authorization: Bearer {}\r\n", alias["key"].as_str().unwrap());
    let by_alias = gateway.send("/v1/chat/completions", &bearer, &CHAT.replace("smol", "quick"));
    assert_eq!(by_alias.status, 200, "{}", by_alias.body);
    let head = format!("GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{bearer}\r\n");
    let listed = raw(gateway.port, head.as_bytes()).json();
    let names: Vec<&Value> = listed["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(names, ["quick"]);
    let slow = create(&["--name", "slow", "--rpm", "1"]);
    until("the key", || with(&slow).status != 401);
    let fast = with(&slow);
    let head = fast.head.to_lowercase();
    assert!(
        fast.status == 429 && head.contains("retry-after: ") && head.contains("x-should-retry: true"),
        "{head}"
    );
    assert!(fast.body.contains("1 request in a minute"), "{}", fast.body);
    // Its budget is its own.
    until("the end of the key's budget", || with(&ci).status == 402);
    let told = with(&ci).body;
    assert!(told.contains("key `ci` per day"), "{told}");
    // In the query, as some of Google's clients have it; the provider never sees it.
    let secret = narrow["key"].as_str().unwrap();
    let by_query = gateway.send(&format!("/v1/chat/completions?key={secret}"), "", CHAT);
    assert_eq!(by_query.json()["error"]["code"], "WFLO-4067");
    assert_eq!(world.folder.run(&["keys", "revoke", "narrow"]).code, 0);
    until("the revocation", || with(&narrow).json()["error"]["code"] == "WFLO-4066");
    let listed = world.folder.run(&["keys", "list", "--json"]).stdout;
    assert!(listed.contains("\"revoked\"") && !listed.contains(secret));
    listed.lines().for_each(|line| assert_fits("keys", line));
    let rotated = world.folder.run(&["keys", "rotate", "slow", "--json"]);
    let rotated: Value = serde_json::from_str(&rotated.stdout).unwrap();
    until("the rotated key", || with(&slow).status == 401 && with(&rotated).status != 401);
    gateway.drain();
    what_each_key_spent(&world, &ci, &alias);
}

/// Lists and reports say it by key: of one that made some calls, and of one that made one.
fn what_each_key_spent(world: &World, ci: &Value, alias: &Value) {
    let lines = |arguments: &[&str]| {
        let said = world.folder.run(arguments).stdout;
        said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let keys = lines(&["keys", "list", "--json"]);
    let spent = |of: &Value| nanos(&keys.iter().find(|key| key["id"] == of["id"]).unwrap()["spent_usd"]);
    assert!(spent(ci) > BILL && spent(ci) % BILL == 0 && spent(alias) == BILL, "{keys:?}");
    let report = lines(&["costs", "report", "--by", "key", "--json"]);
    report.iter().for_each(|line| assert_fits("costs-report", &line.to_string()));
    let row = |name: &str| nanos(&report.iter().find(|row| row["key"] == name).unwrap()["cost_usd"]);
    assert_eq!((row("ci"), row("alias"), row("(any key)")), (spent(ci), BILL, BILL));
    let page = world.folder.run(&["keys", "list"]).stdout;
    let slow = page.lines().find(|line| line.contains(" slow ")).unwrap();
    assert!(page.lines().next().unwrap().contains("SPENT  RPM  MODELS") && slow.contains("   1"), "{page}");
}

#[test]
fn what_a_gateway_holds_ahead_of_its_calls_is_not_used() {
    let world = World::new("1");
    let gateway = world.start();
    assert_eq!(gateway.chat().status, 200);
    let page = || world.folder.run(&["budgets", "list"]);
    let used = "$0.00002";
    assert_eq!(BILL, 20_000);
    until("the bill", || page().stdout.contains(used));
    let ended = page();
    let row = ended.stdout.lines().nth(1).unwrap();
    assert!(row.contains("░░░░░░░░░░░░░░░░░░░░") && row.ends_with("$0.99  $1.00"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("HELD"), "{}", ended.stdout);
    assert!(ended.stderr.contains("at hand"), "{}", ended.stderr);
    gateway.drain();
    assert!(!page().stderr.contains("at hand"));
}

#[test]
fn a_changed_file_is_taken_over_and_a_wrong_one_is_not() {
    let world = World::new("");
    let mut gateway = world.start();
    assert_eq!(gateway.chat().status, 200);
    world.configure("0.0000001", "2");
    gateway.hears("gateway.reloaded");
    assert_eq!(gateway.chat().status, 402);
    world.folder.write("wflo.toml", "[budget]\nmax_cost = 5\n");
    let failed = gateway.hears("gateway.reload_failed");
    assert!(failed["errors"][0]["message"].as_str().unwrap().contains("max_cost"), "{failed}");
    assert_eq!(gateway.chat().status, 402, "the settings from before stay");
    world.configure("1", "4");
    gateway.hears("gateway.reloaded");
    assert_eq!(gateway.chat().status, 200);
    gateway.drain();
    assert_eq!(world.charged().0, BILL + 10_000 + 4 * 5_000);
}

#[test]
fn a_gateway_that_should_ask_people_about_circles_does_not_start() {
    let folder = Folder::with(&[("wflo.toml", "[repeats]\nsame = 3\naction = \"ask\"\n")]);
    let refused = folder.run(&["gateway", "--listen", "127.0.0.1:0"]);
    assert!(refused.code == 1 && refused.stderr.contains("WFLO-4115"), "{}", refused.stderr);
}

#[test]
fn nobody_else_can_reach_a_gateway_without_key_and_certificate() {
    let world = World::new("");
    let refused = world.folder.run(&["gateway", "--listen", "0.0.0.0:0"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("WFLO-4070") && refused.stderr.contains("--tls-cert"),
        "{}",
        refused.stderr
    );
    world.folder.write("cert.pem", "nothing");
    let files = ["--tls-cert", "cert.pem", "--tls-key", "cert.pem"];
    let refused = world.folder.run(&[&["gateway", "--listen", "0.0.0.0:0"], &files[..]].concat());
    assert!(refused.stderr.contains("wflo keys create"), "{}", refused.stderr);
    let refused = world.folder.run(&[&["gateway", "--listen", "127.0.0.1:0"], &files[..]].concat());
    assert!(refused.stderr.contains("WFLO-4071"), "{}", refused.stderr);
}

#[test]
fn requests_that_two_servers_could_read_differently_are_refused() {
    let world = World::new("");
    let gateway = world.start();
    let body = CHAT.len();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n";
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for (what, request) in [
        ("two lengths", format!("{head}content-length: {body}\r\ncontent-length: 3\r\n\r\n{CHAT}")),
        ("a signed length", format!("{head}content-length: +{body}\r\n\r\n{CHAT}")),
        ("a folded header", format!("{head}x-a: 1\r\n b\r\ncontent-length: {body}\r\n\r\n{CHAT}")),
        ("a space before a colon", format!("{head}content-length : {body}\r\n\r\n{CHAT}")),
        ("an unknown encoding", format!("{head}transfer-encoding: chunked, nothing\r\n\r\n0\r\n\r\n")),
        ("a chunk without a size", format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n\r\n")),
    ] {
        let got = raw(gateway.port, request.as_bytes());
        assert!(got.status == 400 || got.status == 0, "{what}: {} {}", got.head, got.body);
    }
    let post = "POST /v1/chat/completions HTTP/1.1\r\n";
    let (sized, chunked) =
        (format!("content-length: {body}\r\n\r\n{CHAT}"), format!("\r\n{body:x}\r\n{CHAT}\r\n0\r\n\r\n"));
    for (what, rest) in [
        ("no host", sized.clone()),
        ("two hosts", format!("host: localhost\r\nhost: localhost\r\n{sized}")),
        (
            "a coding that is not undone",
            format!("host: localhost\r\ntransfer-encoding: gzip, chunked\r\n{chunked}"),
        ),
        (
            "a coding that is done twice",
            format!(
                "host: localhost\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n{chunked}"
            ),
        ),
    ] {
        // What stands behind it is no request either.
        let got = raw(gateway.port, format!("{post}{rest}{smuggled}").as_bytes());
        assert!(got.status == 400 || got.status == 403, "{what}: {} {}", got.head, got.body);
        assert!(!got.body.contains("HTTP/1.1"), "{what}: {}", got.body);
    }
    // Chunked wins over a length (RFC 9112, 6.3), and the connection ends with the answer: what stands behind
    // is no request.
    let both = format!("{head}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}");
    let got = raw(gateway.port, both.as_bytes());
    assert!(!got.body.contains("HTTP/1.1"), "{}", got.body);
    assert_eq!(world.mock.counts().requests, 0);
    gateway.drain();
}
