//! Recordings: what is written is read, nothing else is written over, and each answer is given once.

use serde_json::json;
use wflo_core::money::NanoUsd;

use super::*;

fn call(step: &str, fingerprint: &str, body: &str) -> Entry {
    let answer = Recorded {
        status: 200,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.to_owned().into(),
        interrupted: false,
        broke: None,
        usage: None,
        cost: NanoUsd::from_nanos(7),
    };
    let (endpoint, provider, model) = ("chat".to_owned(), Some("local".to_owned()), Some("m".to_owned()));
    Entry {
        step: step.to_owned(),
        fingerprint: fingerprint.to_owned(),
        parts: Parts::of(body.as_bytes()),
        said: Said::Llm { endpoint, provider, model, answer },
    }
}

fn drawn(step: &str, value: Value) -> Entry {
    Entry {
        step: step.to_owned(),
        fingerprint: "now".to_owned(),
        parts: Parts::default(),
        said: Said::Drawn { value },
    }
}

#[test]
fn what_was_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.jsonl");
    let entries = vec![call("a", "1", "{\"text\":\"ünï\\n\"}"), call("b", "2", ""), drawn("b", json!(0.25))];
    let recording = Recording { workflow: "w".to_owned(), entries };
    recording.write(&file).unwrap();
    recording.write(&file).unwrap();
    assert_eq!(Recording::read(&file).unwrap(), recording);
}

#[test]
fn nothing_else_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording { workflow: "w".to_owned(), entries: Vec::new() };
    for (name, content) in [("wflo.toml", &b"[project]\n"[..]), ("picture", b"\xff\xd8"), ("one", b"x")] {
        let file = folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        assert!(matches!(recording.write(&file), Err(RecordingError::Place { .. })), "{name}");
        assert_eq!(std::fs::read(&file).unwrap(), content);
    }
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    recording.write(&empty).unwrap();
    assert!(recording.write(folder.path()).is_err());
}

#[test]
fn the_folder_of_a_recording_is_made_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tests/replay/calls.jsonl");
    Recording::prepare(&file).unwrap();
    let made = std::fs::read_dir(file.parent().unwrap()).unwrap().count();
    assert_eq!(made, 0, "a check leaves nothing behind");
    std::fs::write(folder.path().join("tests/file"), "x").unwrap();
    let below = folder.path().join("tests/file/calls.jsonl");
    assert!(matches!(Recording::prepare(&below), Err(RecordingError::Place { .. })));
}

#[test]
fn what_has_no_end_is_not_read() {
    for place in ["/dev/zero", "/"] {
        assert!(matches!(Recording::read(Path::new(place)), Err(RecordingError::File { .. })), "{place}");
    }
}

#[test]
fn another_file_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.jsonl");
    let head = "{\"wflo_recording\":1,\"workflow\":\"w\"}\n";
    for (text, line) in [
        (String::new(), 1),
        ("{}".to_owned(), 1),
        (head.replace(":1,", ":2,"), 1),
        (format!("{head}{{\"step\":1}}"), 2),
    ] {
        std::fs::write(&file, &text).unwrap();
        let error = Recording::read(&file).unwrap_err();
        assert!(matches!(error, RecordingError::Line { line: at, .. } if at == line), "{text}: {error}");
    }
    assert!(matches!(Recording::read(&folder.path().join("none")), Err(RecordingError::File { .. })));
}

#[test]
fn equal_requests_are_answered_in_their_order_each_once() {
    let entries = vec![
        call("a", "1", "x"),
        call("b", "1", "other step"),
        call("a", "1", "y"),
        drawn("a", json!("noon")),
        call("a", "2", "z"),
    ];
    let recording = Recording { workflow: "w".to_owned(), entries };
    let replaying = Replaying::of_step(recording.clone(), "a", HashSet::new());
    let body = |found: Option<(usize, Said)>| match found {
        Some((_, Said::Llm { answer, .. })) => Some(answer.body),
        _ => None,
    };
    assert_eq!(body(replaying.take("1")), Some("x".into()));
    assert_eq!(body(replaying.take("1")), Some("y".into()));
    assert_eq!(body(replaying.take("1")), None);
    assert_eq!(replaying.take("now"), Some((3, Said::Drawn { value: json!("noon") })));
    assert_eq!(replaying.count(), (3, 1));
    assert_eq!(replaying.nearest("1", "chat", b"{}"), Nearest::Given(2));
    assert_eq!(replaying.nearest("3", "chat", b"{}"), Nearest::Unknown);
    let resumed = Replaying::of_step(recording, "a", HashSet::from([0]));
    assert_eq!(body(resumed.take("1")), Some("y".into()));
}

#[test]
fn the_nearest_call_is_one_that_was_not_given() {
    let entries = ["{\"a\":1,\"b\":1}", "{\"a\":2,\"b\":2}", "{\"a\":3,\"b\":2}"];
    let entries = entries.iter().enumerate().map(|(nth, body)| call("a", &nth.to_string(), body)).collect();
    let recording = Recording { workflow: "w".to_owned(), entries };
    let replaying = Replaying::of_step(recording, "a", HashSet::from([1]));
    let near = |body: &str| replaying.nearest("new", "chat", body.as_bytes());
    let differences = vec!["a differs".to_owned()];
    assert_eq!(near("{\"a\":2,\"b\":2}"), Nearest::Call { nth: 3, differences });
    assert_eq!(near("{\"b\":1,\"a\":1}"), Nearest::Call { nth: 1, differences: Vec::new() });
    assert_eq!(replaying.nearest("new", "messages", b"{}"), Nearest::Unknown);
}
