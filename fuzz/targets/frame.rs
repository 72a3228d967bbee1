//! Frames of the worker protocol, as a hostile runner writes them: none breaks the reader, and each that is read fits.
//!
//! The reader is the engine's own file, without the engine around it, which would take minutes to build.
#![no_main]

#[allow(dead_code, unreachable_pub)]
#[path = "../../crates/wflo-engine/src"]
mod engine {
    pub(crate) mod protocol;
}

/// What the other direction names of the engine's.
#[allow(dead_code)]
mod journal {
    #[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
    pub struct Marks;
}

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use engine::protocol::{self, FrameError, FromRunner};

fn next(rest: &mut &[u8]) -> Result<FromRunner, FrameError> {
    let mut read = pin!(protocol::read(rest));
    // What is in memory is there at once.
    match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => panic!("the reader waits for what is there"),
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    loop {
        let before = rest.len();
        match next(&mut rest) {
            Ok(_) => assert!(before - rest.len() <= protocol::MAX_FRAME + 4),
            Err(_) => return,
        }
    }
});
