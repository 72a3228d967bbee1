//! SIGKILL at every boundary of a gateway's call, and of one of two gateways in the middle of its work: nothing
//! that was billed is missing from the books, no limit is passed, and no hold is left.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use wflo_core::money::NanoUsd;

use super::gateway::{BILL, BOUND, CHAT, World, nanos, until};

impl World {
    /// What the gateway's budget stands at: settled and held.
    fn books(&self) -> (i64, i64) {
        let listed = self.folder.run(&["budgets", "list", "--json"]);
        assert_eq!(listed.code, 0, "{}", listed.stderr);
        let budgets = listed.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut budgets = budgets.filter(|line| line["type"] == "budget" && line["scope"] == "gateway");
        let budget = budgets.next().expect("a budget of the gateway");
        assert_eq!(budgets.next(), None);
        (nanos(&budget["settled_usd"]), nanos(&budget["held_usd"]))
    }

    fn billed(&self) -> i64 {
        self.mock.counts().billed as i64 * BILL
    }
}

/// The status of one call's answer; 0 where there is none, or no gateway.
fn call(port: u16) -> u16 {
    let answer = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let length = CHAT.len();
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
        write!(stream, "{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{CHAT}")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    });
    // An answer whose last byte has not come is none.
    let answer = answer.unwrap_or_default();
    let whole = answer.ends_with('}') || answer.ends_with("0\r\n\r\n");
    answer.split(' ').nth(1).filter(|_| whole).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// What is charged without a bill when the process ends there: the whole hold of the call, or nothing.
const PLACES: [(&str, i64); 8] = [
    ("gateway.slice.before", 0),
    ("gateway.slice.after", 0),
    ("gateway.intent.before", 0),
    ("gateway.intent.after", BOUND),
    ("gateway.settle.before", BOUND),
    ("gateway.settle.after", 0),
    ("gateway.fold.before", 0),
    ("gateway.fold.after", 0),
];

#[test]
fn a_kill_at_any_boundary_of_a_call_leaves_books_that_are_right() {
    let places: Vec<&str> = PLACES.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, wflo_proxy::failpoint::ALL);
    for (place, lost) in PLACES {
        for nth in [1, 2, 4] {
            let world = World::new("1");
            let failpoint = format!("{place}:{nth}");
            let mut gateway = world.start_under(&[("WFLO_FAILPOINT", &failpoint)]);
            let (mut answered, since) = (0, Instant::now());
            // A fold and a slice come by themselves, so how many calls pass before them differs.
            while gateway.child.try_wait().unwrap().is_none() {
                assert!(since.elapsed() < Duration::from_secs(120), "{failpoint} is never passed");
                answered += i64::from(call(gateway.port) == 200);
            }
            assert_eq!(gateway.child.wait().unwrap().signal(), Some(9), "{failpoint}");
            // Whoever looks brings in what it left.
            let (charged, uncertain) = world.charged();
            assert_eq!(world.books(), (charged, 0), "{failpoint}");
            assert!(charged >= world.billed(), "{failpoint}: {charged}");
            assert!(charged - uncertain >= answered * BILL, "{failpoint}: {charged}");
            if lost > 0 {
                assert_eq!(uncertain, lost, "{failpoint}");
                // Whether its provider billed it or not, it is charged once.
                assert_eq!(charged - uncertain, answered * BILL, "{failpoint}");
            } else if uncertain == 0 {
                assert_eq!(charged, world.billed(), "{failpoint}");
            }
            let next = world.start();
            assert_eq!(call(next.port), 200, "{failpoint}");
            next.drain();
            assert_eq!(world.books(), (charged + BILL, 0), "{failpoint}");
        }
    }
}

#[test]
fn one_of_two_gateways_is_killed_and_the_other_spends_the_rest_to_the_nano() {
    // Room for 60 bills and what a kill can charge: a hold for each call that is under way.
    let clients = 8;
    let limit = 60 * BILL + (clients + 1) * BOUND;
    let world = World::new(&NanoUsd::from_nanos(limit).to_string());
    let (mut dying, living) = (world.start(), world.start());
    let counts: Vec<(i64, i64)> = std::thread::scope(|scope| {
        let (port, other) = (dying.port, living.port);
        let dies: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(move || {
                    let mut answered = 0;
                    while call(port) == 200 {
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        let lives: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(move || {
                    let mut answered = 0;
                    loop {
                        match call(other) {
                            200 => answered += 1,
                            402 => return answered,
                            other => panic!("{other}"),
                        }
                    }
                })
            })
            .collect();
        until("some calls", || world.mock.counts().billed > 12);
        dying.child.kill().unwrap();
        dying.child.wait().unwrap();
        dies.into_iter()
            .zip(lives)
            .map(|(dies, lives)| (dies.join().unwrap(), lives.join().unwrap()))
            .collect()
    });
    let mut answered: i64 = counts.iter().map(|(dies, lives)| dies + lives).sum();
    // The living one uses what the dead one had in hand, once it has found it.
    until("the use of all that fits", || match call(living.port) {
        200 => {
            answered += 1;
            false
        }
        402 => limit - world.books().0 < BOUND,
        other => panic!("{other}"),
    });
    living.drain();
    let ((settled, held), (charged, uncertain)) = (world.books(), world.charged());
    assert_eq!((settled, held), (charged, 0));
    assert!(settled <= limit, "{settled} of {limit}");
    // What was under way is charged in full, call by call, and nothing else is.
    assert!(uncertain % BOUND == 0 && uncertain <= clients * BOUND, "{uncertain}");
    let certain = charged - uncertain;
    assert!(certain % BILL == 0 && certain >= answered * BILL, "{certain} for {answered} answers");
    assert!(charged >= world.billed());
    // The living one used what the dead one had in hand: no further call fits.
    assert!(limit - settled < BOUND, "{} left", limit - settled);
}

const FLOW: &str = "\
apiVersion: wflo.dev/v1
kind: Workflow
name: nightly
steps:
  - {name: ask, type: agent, model: smol, prompt: Say hello, max_tokens: 100}
";

/// A world whose runs and gateways share this limit.
fn sharing(limit: i64) -> World {
    let world = World::new("");
    let settings = format!(
        "[project]\nworkflow = \"flow.yaml\"\norg = \"acme\"\n{}\n[[budgets]]\nscope = \"org\"\nmax_cost_usd = \"{}\"\n",
        world.folder.read("wflo.toml"),
        NanoUsd::from_nanos(limit)
    );
    world.folder.write("wflo.toml", &settings);
    world.folder.write("flow.yaml", FLOW);
    world
}

/// It waits for room that only a gateway has, which then dies with it.
#[test]
fn a_run_that_waits_does_not_wait_for_the_dead() {
    let world = sharing(BILL + BOUND + BOUND / 2);
    // It ends once its call is settled in its log, whatever of its slice it has given back before.
    let mut gateway = world.start_under(&[("WFLO_FAILPOINT", "gateway.settle.after:1")]);
    world.mock.hold();
    let port = gateway.port;
    let client = std::thread::spawn(move || call(port));
    until("its call is sent", || world.mock.counts().requests == 1);
    let mut run = world.folder.start(&["run", "--json"]);
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.by_ref().find(|line| line.contains("\"step.started\"")).expect("the step starts");
    assert!(gateway.child.try_wait().unwrap().is_none());
    world.mock.release();
    assert_eq!(gateway.child.wait().unwrap().signal(), Some(9));
    client.join().unwrap();
    let last = lines.last().unwrap();
    assert!(last.contains("\"completed\""), "{last}");
    assert_eq!(world.folder.ended(run).code, 0);
    let (charged, uncertain) = world.charged();
    assert_eq!((charged, uncertain), (2 * BILL, 0), "what it had spent is charged, and no more");
}

#[test]
fn runs_and_a_gateway_share_a_budget_to_the_nano() {
    let limit = 800 * BILL + 2 * BOUND;
    let world = sharing(limit);
    let gateway = world.start();
    let port = gateway.port;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = || {
            let mut answered = 0;
            loop {
                // However slow the run is to begin, half of the budget is left to it.
                if answered >= 200 && !over.load(Ordering::Acquire) {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                match call(port) {
                    200 => answered += 1,
                    402 => return,
                    other => panic!("{other}"),
                }
            }
        };
        let clients: Vec<_> = (0..2).map(|_| scope.spawn(client)).collect();
        // The gateway has most of what is left at hand; it gives back what no call of it holds.
        let ran = world.folder.run(&["run", "--json"]);
        over.store(true, Ordering::Release);
        assert_eq!(ran.code, 0, "{} {}", ran.stdout, ran.stderr);
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    let halted = world.folder.run(&["run", "--json"]);
    assert_eq!(halted.code, 4, "{} {}", halted.stdout, halted.stderr);
    assert_eq!(call(port), 402);
    gateway.drain();
    let listed = world.folder.run(&["budgets", "list", "--json"]).stdout;
    let budgets = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let org: Vec<Value> = budgets.filter(|line| line["type"] == "budget" && line["scope"] == "org").collect();
    assert_eq!(org.len(), 1, "one account of both: {listed}");
    let (settled, held) = (nanos(&org[0]["settled_usd"]), nanos(&org[0]["held_usd"]));
    assert_eq!((settled, held), (world.billed(), 0));
    assert!(settled <= limit && limit - settled < BOUND, "{settled} of {limit}");
}
