use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use super::*;

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn connected() -> (Together, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Together::new(listener.accept().await.unwrap().0), other)
}

async fn in_time<T>(done: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), done).await.unwrap()
}

/// What is written in some pieces, and between which of them the writer waits for the flush or lets others run.
fn pieces() -> impl Strategy<Value = Vec<(usize, u8)>> {
    let length = prop_oneof![0..200_usize, 0..LARGE + 100, LARGE..6 * LARGE];
    proptest::collection::vec((length, 0..3_u8), 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn everything_arrives_in_its_order(pieces in pieces(), slow in any::<bool>(), many in any::<bool>()) {
        let runtime = if many { two_threads() } else { one_thread() };
        runtime.block_on(in_time(async {
            let (mut near, mut far) = connected().await;
            let total: usize = pieces.iter().map(|(length, _)| length).sum();
            let sent: Vec<u8> = (0..total).map(|n| (n % 251) as u8).collect();
            let whole = sent.clone();
            let writer = tokio::spawn(async move {
                let mut rest = whole.as_slice();
                for (length, then) in pieces {
                    let (piece, behind) = rest.split_at(length);
                    near.write_all(piece).await.unwrap();
                    rest = behind;
                    match then {
                        0 => near.flush().await.unwrap(),
                        1 => tokio::task::yield_now().await,
                        _ => {}
                    }
                }
                near.shutdown().await.unwrap();
            });
            let mut got = Vec::new();
            let mut buffer = vec![0; if slow { 999 } else { 1 << 16 }];
            loop {
                match far.read(&mut buffer).await.unwrap() {
                    0 => break,
                    n => got.extend_from_slice(&buffer[..n]),
                }
            }
            writer.await.unwrap();
            assert!(got == sent);
        }));
    }
}

/// Nobody asks for a flush again, and nobody shuts down.
#[test]
fn what_was_written_leaves_by_itself() {
    for runtime in [one_thread(), two_threads()] {
        runtime.block_on(in_time(async {
            let mut all = Vec::new();
            for _ in 0..3 * MANY {
                all.push(connected().await);
            }
            for (near, _) in &mut all {
                near.write_all(b"hello").await.unwrap();
            }
            for (_, far) in &mut all {
                let mut got = [0; 5];
                far.read_exact(&mut got).await.unwrap();
                assert_eq!(&got, b"hello");
            }
        }));
    }
}

#[test]
fn a_reader_that_takes_nothing_holds_its_writer_up_and_little_memory() {
    one_thread().block_on(in_time(async {
        let (mut near, mut far) = connected().await;
        let shared = Arc::clone(&near.0);
        let writer = tokio::spawn(async move {
            let mut written = 0_usize;
            // More than both sockets take.
            for _ in 0..16 * 1024 {
                near.write_all(&[7; 1000]).await.unwrap();
                near.flush().await.unwrap();
                written += 1000;
            }
            written
        });
        // A moment in which the writer gets no further, however often it is given the time.
        let mut before = (usize::MAX, usize::MAX);
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = {
                let out = shared.out();
                (out.bytes.len(), out.bytes.capacity())
            };
            assert!(now.1 <= 4 * LARGE, "{now:?}");
            if now == before && now.0 > 0 {
                break;
            }
            before = now;
        }
        assert!(!writer.is_finished());
        let mut got = 0;
        let mut buffer = vec![0; 1 << 16];
        while got < 16 * 1024 * 1000 {
            got += far.read(&mut buffer).await.unwrap();
        }
        assert_eq!(writer.await.unwrap(), got);
        assert_eq!(
            shared.out().bytes.capacity(),
            0,
            "nothing is kept of a connection that has nothing to send"
        );
    }));
}

#[test]
fn a_peer_that_has_gone_is_told_to_the_writer() {
    one_thread().block_on(in_time(async {
        let (mut near, far) = connected().await;
        far.set_zero_linger().unwrap();
        drop(far);
        while near.write_all(b"anybody?").await.is_ok() && near.flush().await.is_ok() {
            tokio::task::yield_now().await;
        }
    }));
}

#[test]
fn a_connection_that_is_dropped_sends_what_it_has_first() {
    one_thread().block_on(in_time(async {
        let (mut near, mut far) = connected().await;
        near.write_all(b"the end").await.unwrap();
        drop(near);
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"the end");
    }));
}

/// One thread, and the runtime that it worked for first is still there but stands still.
#[test]
fn each_runtime_sends_for_its_own() {
    let (first, second) = (one_thread(), one_thread());
    for runtime in [&first, &second, &first] {
        runtime.block_on(in_time(async {
            let (mut near, mut far) = connected().await;
            near.write_all(b"hello").await.unwrap();
            let mut got = [0; 5];
            far.read_exact(&mut got).await.unwrap();
        }));
    }
}
