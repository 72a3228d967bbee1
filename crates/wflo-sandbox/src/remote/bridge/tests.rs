//! What a keeper that lies can do: end its own sandbox.

use super::super::files::{Entry, EntryKind};
use super::super::frame::{FIRST_CONNECTION, WINDOW};
use super::*;
use crate::native::wire::Notice;
use crate::workspace::RelPath;
use tokio::io::AsyncReadExt as _;

const SOON: Duration = Duration::from_secs(60);

/// A bridge, and the other end of its connection.
struct Other {
    bridge: Bridge,
    says: mpsc::Sender<Piece>,
    runtime: tokio::runtime::Runtime,
}

fn connection(ours: impl AsyncWrite + Send + 'static, output: mpsc::Receiver<Piece>) -> Connection {
    Connection { input: Box::pin(ours), output, hushed: Hushed::default().and("e2b_secret") }
}

fn other() -> Other {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let (says, output) = mpsc::channel(QUEUE);
    runtime.spawn(async move {
        let mut taken = [0; 4_096];
        while theirs.read(&mut taken).await.is_ok_and(|read| read > 0) {}
    });
    let bridge = Bridge::new(connection(ours, output), runtime.handle()).unwrap();
    Other { bridge, says, runtime }
}

impl Other {
    fn say(&self, frames: &[Frame]) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.write(&mut bytes));
        let _ = self.says.blocking_send(Piece::Frames(bytes.into()));
    }

    /// What comes of a capture that is answered like this, and of a folder beside the one that it is for.
    fn captured(&self, answer: &[Frame]) -> io::Result<()> {
        let all = tempfile::tempdir().unwrap();
        let (inside, outside) = (all.path().join("inside"), all.path().join("outside"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "as it was").unwrap();
        let captured = std::thread::scope(|scope| {
            let capturing = scope.spawn(|| self.bridge.capture(&inside, 10, 1_000, SOON));
            // The answer has a place as soon as it is waited for.
            while self.bridge.shared.state().intake.is_none() && !capturing.is_finished() {
                std::thread::yield_now();
            }
            self.say(answer);
            capturing.join().unwrap()
        });
        let left: Vec<_> = std::fs::read_dir(&outside).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["kept"]);
        assert_eq!(std::fs::read_to_string(outside.join("kept")).unwrap(), "as it was");
        captured
    }
}

fn entry(path: &str, kind: EntryKind) -> Frame {
    let path = RelPath::from_bytes(path.as_bytes()).unwrap();
    Frame::new(Kind::Entry, 0, Entry { path, kind, mode: 0o644, modified: 0 }.encode())
}

fn piece(at: u64, bytes: &[u8]) -> Frame {
    Frame::new(Kind::Piece, 0, [&at.to_le_bytes()[..], bytes].concat())
}

#[test]
fn files_that_are_told_have_a_place_below_one_folder_alone() {
    let done = Frame::bare(Kind::Captured);
    let through_a_link = [
        entry("a", EntryKind::Link(b"../outside".to_vec())),
        entry("a/evil", EntryKind::File(4)),
        piece(0, b"evil"),
        done.clone(),
    ];
    assert!(other().captured(&through_a_link).is_err());
    let over_a_link = [
        entry("a", EntryKind::Link(b"../outside/kept".to_vec())),
        entry("a", EntryKind::File(4)),
        piece(0, b"evil"),
        done.clone(),
    ];
    other().captured(&over_a_link).expect("it is replaced, and not written through");
    let gone_through_a_link =
        [entry("a", EntryKind::Link(b"../outside".to_vec())), entry("a/kept", EntryKind::Gone), done.clone()];
    let _ = other().captured(&gone_through_a_link);
    // A path that leads up is no entry at all.
    let mut up = entry("aa/evil", EntryKind::File(4));
    let at = up.bytes.windows(2).position(|two| two == b"aa").unwrap();
    up.bytes[at..at + 2].copy_from_slice(b"..");
    assert!(other().captured(&[up, done]).is_err());
}

#[test]
fn sizes_that_are_told_are_not_believed() {
    let done = Frame::bare(Kind::Captured);
    for lie in [
        vec![entry("a", EntryKind::File(4)), piece(100, b"evil"), done.clone()],
        vec![entry("a", EntryKind::File(4)), piece(u64::MAX, b"evil"), done.clone()],
        vec![entry("a", EntryKind::File(4)), piece(0, b"longer than that"), done.clone()],
        vec![entry("a", EntryKind::File(1 << 40)), done.clone()],
        vec![piece(0, b"of no file"), done.clone()],
        (0..20).map(|n| entry(&n.to_string(), EntryKind::Folder)).chain([done.clone()]).collect(),
        vec![Frame::new(Kind::Captured, 1, "it cannot be read")],
        vec![Frame::new(Kind::Entry, 0, "no entry")],
    ] {
        assert!(other().captured(&lie).is_err(), "{lie:?}");
    }
}

#[test]
fn what_no_keeper_says_ends_the_sandbox() {
    let too_much = vec![Frame::new(Kind::Data, FIRST_FD, vec![0; 32 << 10]); WINDOW / (32 << 10) + 2];
    for said in [
        vec![Frame::bare(Kind::Order)],
        vec![Frame::bare(Kind::Kill)],
        vec![Frame::new(Kind::Notice, 0, "no notice")],
        vec![Frame::new(Kind::Open, FIRST_CONNECTION, [])],
        vec![Frame::new(Kind::Credit, 1, "a lot")],
    ] {
        let other = other();
        other.say(&said);
        other.bridge.shared.wait(SOON, |state| state.gone.then_some(())).expect("it is over");
        assert_eq!(other.bridge.exit().unwrap().outcome, Outcome::Killed, "{said:?}");
    }
    // Nobody reads this stream, and nobody keeps what comes for it.
    let other = other();
    other.say(&too_much);
    other.say(&[Frame::new(Kind::Ready, 0, [7; 32])]);
    assert_eq!(other.bridge.ready(SOON).unwrap(), [7; 32]);
    drop(other.bridge);
    other.runtime.shutdown_background();
}

#[test]
fn a_keeper_that_reads_nothing_holds_up_neither_its_end_nor_a_look_at_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (ours, _unread) = tokio::io::duplex(16);
    let (_says, output) = mpsc::channel(QUEUE);
    let bridge = Bridge::new(connection(ours, output), runtime.handle()).unwrap();
    while bridge.out.try_send(Frame::bare(Kind::Measure)).is_ok() {}
    let short = Duration::from_millis(20);
    assert_eq!(bridge.usage(short), None);
    assert_eq!(bridge.kill(short), None, "whoever made what is around it is to end it");
    let folder = tempfile::tempdir().unwrap();
    let captured = bridge.capture(folder.path(), 1, 1, short).unwrap_err();
    assert_eq!(captured.kind(), io::ErrorKind::TimedOut);
    let given =
        Given { stdio: [false; 3], fds: Vec::new(), terminal: false, loopback: None, ports: [None; 2] };
    assert!(matches!(bridge.begin(Vec::new(), &[], given, short), Err(Lost::Late)));
}

#[test]
fn what_a_keeper_says_repeats_no_secret() {
    // In two parts, and just where the rest is not kept.
    let one = other();
    let long = "x".repeat(WORDS - 4);
    for part in [format!("{long}e2b_se"), "cret and more".to_owned()] {
        one.says.blocking_send(Piece::Words(part.into())).unwrap();
    }
    drop(one.says);
    let Err(Lost::Gone(words)) = one.bridge.ready(SOON) else { panic!("it is gone") };
    assert_eq!(words, format!("{long}… an"));
    // In a fault, and in what comes of reading its files out.
    let two = other();
    let fault = Fault::new("reading", libc::EIO, "with e2b_secret\u{1b}[2J");
    two.say(&[Frame::new(Kind::Notice, 0, Notice::Failed(fault).encode())]);
    let Err(Lost::Failed(fault)) = two.bridge.ready(SOON) else { panic!("it failed") };
    assert_eq!(fault.detail, "with … [2J");
    let captured = other().captured(&[Frame::new(Kind::Captured, 1, "no e2b_secret")]);
    assert_eq!(captured.unwrap_err().to_string(), "no …");
}
