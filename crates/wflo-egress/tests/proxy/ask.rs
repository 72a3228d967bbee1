//! Hosts that no rule names, and rules that change while connections are open.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use wflo_core::ports::BoxFuture;
use wflo_egress::ask::{Answer, Asker, Question};
use wflo_egress::rules::Denied;
use wflo_egress::witness::End;
use wflo_egress::{Limits, Refusal};

use crate::world::{World, host, within};

/// People whom a test speaks for: each question comes out, with where its answer goes.
struct People {
    asked: mpsc::UnboundedSender<(Question, oneshot::Sender<Answer>)>,
}

type Asked = mpsc::UnboundedReceiver<(Question, oneshot::Sender<Answer>)>;

fn people() -> (Arc<dyn Asker>, Asked) {
    let (asked, questions) = mpsc::unbounded_channel();
    (Arc::new(People { asked }), questions)
}

impl Asker for People {
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer> {
        let (tell, told) = oneshot::channel();
        let _ = self.asked.send((question.clone(), tell));
        Box::pin(async move { told.await.unwrap_or(Answer::Nothing) })
    }
}

fn world(rules: &[String], asker: Arc<dyn Asker>) -> World {
    World::asking(rules, &["127.0.0.1"], &[("a.example", &["127.0.0.1"])], Limits::default(), Some(asker))
}

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[tokio::test]
async fn an_unknown_host_is_asked_about_and_held_until_somebody_answers() {
    let (port, mut told) = host(HELLO).await;
    let (asker, mut questions) = people();
    let world = world(&[], asker);
    let request = format!(
        "GET http://a.example:{port}/x?secret=1 HTTP/1.1\r\nHost: a.example:{port}\r\nConnection: close\r\n\r\n"
    );
    for (answer, expected) in
        [(Answer::Yes, "200 OK"), (Answer::No, "[WFLO-5209]"), (Answer::Nothing, "[WFLO-5209]")]
    {
        let said = world.say(request.as_bytes());
        tokio::pin!(said);
        let (question, tell) = tokio::select! {
            asked = within(questions.recv()) => asked.unwrap(),
            said = &mut said => panic!("nobody was asked: {said}"),
        };
        assert_eq!(question.to_string(), format!("http://a.example:{port}"));
        assert_eq!(question.request.as_deref(), Some("GET /x"), "a query is nobody's business");
        // Nothing of it has left meanwhile, not even a question to a name server.
        assert!(told.try_recv().is_err());
        let before = world.names.asked.lock().unwrap().len();
        tell.send(answer).unwrap();
        assert!(within(said).await.contains(expected), "{answer:?}");
        let asked = world.names.asked.lock().unwrap().len();
        assert_eq!(asked - before, usize::from(answer == Answer::Yes), "{answer:?}");
        if answer == Answer::Yes {
            assert!(told.recv().await.is_some());
        }
    }
    assert_eq!(world.book.opened.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn addresses_that_are_no_public_ones_and_named_requests_are_not_asked_about() {
    let (asker, mut questions) = people();
    let world = world(&["GET http://a.example/x/**".to_owned()], asker);
    for asked in [
        "GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "GET http://169.254.169.254/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
        "CONNECT 10.0.0.1:443 HTTP/1.1\r\nHost: 10.0.0.1:443\r\n\r\n",
        "GET http://a.example/y HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ] {
        assert!(world.say(asked.as_bytes()).await.contains("[WFLO-5202]"), "{asked}");
    }
    assert!(questions.try_recv().is_err());
}

#[tokio::test]
async fn whoever_allows_the_host_meanwhile_has_answered() {
    let (port, _told) = host(HELLO).await;
    let (asker, mut questions) = people();
    let world = world(&[], asker);
    let request = format!(
        "GET http://a.example:{port}/ HTTP/1.1\r\nHost: a.example:{port}\r\nConnection: close\r\n\r\n"
    );
    let said = world.say(request.as_bytes());
    tokio::pin!(said);
    let _asked = tokio::select! {
        asked = within(questions.recv()) => asked.unwrap(),
        said = &mut said => panic!("{said}"),
    };
    world.change(&format!("http://a.example:{port}"), true);
    assert!(within(&mut said).await.contains("200 OK"));
    // And who keeps it out as well, however it was answered before.
    world.change("a.example", false);
    assert!(world.say(request.as_bytes()).await.contains("[WFLO-5209]"));
}

#[tokio::test]
async fn a_yes_does_not_outweigh_what_was_said_meanwhile() {
    let (asker, mut questions) = people();
    let world = world(&[], asker);
    let said = world.say(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n");
    tokio::pin!(said);
    let (_, tell) = tokio::select! {
        asked = within(questions.recv()) => asked.unwrap(),
        said = &mut said => panic!("{said}"),
    };
    world.change("a.example", false);
    let _ = tell.send(Answer::Yes);
    assert!(within(said).await.contains("[WFLO-5209]"));
    assert!(world.names.asked.lock().unwrap().is_empty());
}

/// A tunnel to each of two hosts that say nothing, and the port of both.
async fn two_tunnels() -> (World, u16, [tokio::net::TcpStream; 2]) {
    let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = echo.local_addr().unwrap().port();
    let streams = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = echo.accept().await {
            streams.lock().unwrap().push(stream);
        }
    });
    let rules =
        ["tcp://a.example", "tcp://b.example", "http://b.example"].map(|rule| format!("{rule}:{port}"));
    let names: &[(&str, &[&str])] = &[("a.example", &["127.0.0.1"]), ("b.example", &["127.0.0.1"])];
    let world = World::new(&rules, &["127.0.0.1"], names);
    let open = |name: &'static str| {
        let world = &world;
        async move {
            let mut stream = world.connect().await;
            let ask = format!("CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n");
            stream.write_all(ask.as_bytes()).await.unwrap();
            let mut answer = [0; 39];
            within(stream.read_exact(&mut answer)).await.unwrap();
            stream
        }
    };
    let tunnels = [open("a.example").await, open("b.example").await];
    (world, port, tunnels)
}

/// The first was ended for this reason, and the other goes on.
async fn only_the_first_has_ended(
    world: &World,
    [mut one, mut other]: [tokio::net::TcpStream; 2],
    reason: &Denied,
) {
    assert_eq!(within(one.read(&mut [0; 8])).await.unwrap_or(0), 0, "it is closed");
    let ended = world.ends(1).await;
    assert!(matches!(&ended[0].end, End::Refused(Refusal::Denied { why, .. }) if why == reason), "{ended:?}");
    other.write_all(b"still there").await.unwrap();
    assert_eq!(world.book.ended.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn keeping_a_host_out_ends_its_open_tunnels_and_no_others() {
    let (world, port, tunnels) = two_tunnels().await;
    world.change("a.example", false);
    only_the_first_has_ended(&world, tunnels, &Denied::Said).await;
    let again = format!("CONNECT a.example:{port} HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n");
    assert!(world.say(again.as_bytes()).await.contains("[WFLO-5209]"));
}

#[tokio::test]
async fn other_rules_about_a_host_end_its_open_tunnels_and_no_others() {
    let (world, port, tunnels) = two_tunnels().await;
    let rules = ["http://b.example", "tcp://b.example", "c.example"].map(|rule| format!("{rule}:{port}"));
    world.replace(&rules);
    only_the_first_has_ended(&world, tunnels, &Denied::Changed).await;
}

/// A world in which these are asked about, whatever is allowed.
fn asking(rules: &[String], asks: &[String], asker: Option<Arc<dyn Asker>>) -> World {
    let world =
        World::asking(rules, &["127.0.0.1"], &[("a.example", &["127.0.0.1"])], Limits::default(), asker);
    let asks: Vec<_> = asks.iter().map(|ask| ask.parse().unwrap()).collect();
    world.rules.send_modify(|rules| *rules = Arc::new(wflo_egress::Rules::clone(rules).asking(asks.clone())));
    world
}

#[tokio::test]
async fn what_a_rule_says_is_asked_about_waits_although_another_allows_it() {
    let (port, mut told) = host(HELLO).await;
    let (asker, mut questions) = people();
    let allowed = [format!("a.example:{port}")];
    let world = asking(&allowed, &[format!("POST http://a.example:{port}/v1/**")], Some(asker));
    let request = |method: &str, path: &str| {
        format!(
            "{method} http://a.example:{port}{path} HTTP/1.1\r\nHost: a.example:{port}\r\nConnection: close\r\n\r\n"
        )
    };
    // What it does not name goes on.
    for (method, path) in [("GET", "/v1/x"), ("POST", "/v2")] {
        assert!(world.say(request(method, path).as_bytes()).await.contains("200 OK"));
        assert!(told.recv().await.is_some());
    }
    let asked = request("POST", "/v1/x");
    for (answer, expected) in
        [(Answer::Yes, "200 OK"), (Answer::No, "[WFLO-5209]"), (Answer::Nothing, "[WFLO-5209]")]
    {
        let said = world.say(asked.as_bytes());
        tokio::pin!(said);
        let (question, tell) = tokio::select! {
            asked = within(questions.recv()) => asked.unwrap(),
            said = &mut said => panic!("nobody was asked: {said}"),
        };
        assert_eq!(question.to_string(), format!("POST http://a.example:{port}/v1/**"));
        assert_eq!(question.request.as_deref(), Some("POST /v1/x"));
        assert!(told.try_recv().is_err(), "nothing of it has left");
        tell.send(answer).unwrap();
        assert!(within(said).await.contains(expected), "{answer:?}");
        if answer == Answer::Yes {
            assert!(told.recv().await.is_some());
        }
    }
    // A header that stands for another method for some servers is no way around it.
    let hidden =
        request("GET", "/v1/x").replace("Connection:", "X-HTTP-Method-Override: POST\r\nConnection:");
    assert!(!world.say(hidden.as_bytes()).await.contains("200 OK"));
    assert!(told.try_recv().is_err());
    // Said for longer, it is not asked about any more.
    world.change(&format!("POST http://a.example:{port}/v1/**"), true);
    assert!(world.say(asked.as_bytes()).await.contains("200 OK"));
    assert!(questions.try_recv().is_err());
}

#[tokio::test]
async fn where_nobody_can_be_asked_what_is_asked_about_is_refused() {
    let (port, mut told) = host(HELLO).await;
    let world = asking(&[format!("a.example:{port}")], &[format!("a.example:{port}")], None);
    for asked in [
        format!("GET http://a.example:{port}/ HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n"),
        format!("CONNECT a.example:{port} HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n"),
    ] {
        assert!(world.say(asked.as_bytes()).await.contains("[WFLO-5209]"), "{asked}");
    }
    assert!(told.try_recv().is_err() && world.names.asked.lock().unwrap().is_empty());
}

/// Who asks about what rules name, and about nothing else.
struct Strict(Arc<dyn Asker>);

impl Asker for Strict {
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer> {
        self.0.ask(question)
    }

    fn asks_about_unknown(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_host_that_nobody_named_is_refused_beside_those_that_are_asked_about() {
    let (asker, mut questions) = people();
    let world = asking(&[], &["b.example".to_owned()], Some(Arc::new(Strict(asker))));
    let unknown = b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n";
    assert!(world.say(unknown).await.contains("[WFLO-5202]"));
    let said = world.say(b"CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n");
    tokio::pin!(said);
    let (question, tell) = tokio::select! {
        asked = within(questions.recv()) => asked.unwrap(),
        said = &mut said => panic!("{said}"),
    };
    assert_eq!(question.to_string(), "https://b.example");
    tell.send(Answer::No).unwrap();
    assert!(within(said).await.contains("[WFLO-5209]"));
}
