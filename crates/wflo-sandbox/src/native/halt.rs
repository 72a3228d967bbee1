//! Places in the making of a sandbox at which a debug build can be told to halt, so that a test can kill
//! there whomever it wants. A release build has none.

use super::wire::Order;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The variable of a program's environment that names the place.
const NAME: &str = "WFLO_SANDBOX_HALT";

/// Where one sandbox's making halts, if anywhere.
#[derive(Debug, Default)]
pub(crate) struct Halt<'a> {
    place: Option<OsString>,
    /// The first of the program's descriptors: told when the place has been reached.
    told: Option<BorrowedFd<'a>>,
}

impl<'a> Halt<'a> {
    pub(crate) fn of(order: &Order, fds: &'a [OwnedFd]) -> Self {
        let named = order.env.iter().find(|(name, _)| name == OsStr::new(NAME));
        let place = named.filter(|_| cfg!(debug_assertions)).map(|(_, place)| place.clone());
        Halt { place, told: fds.first().map(AsFd::as_fd) }
    }

    /// Whether there is any place.
    pub(crate) fn is_set(&self) -> bool {
        self.place.is_some()
    }

    /// Whom it tells, if it is to halt.
    pub(crate) fn told(&self) -> Option<BorrowedFd<'a>> {
        self.told.filter(|_| self.is_set())
    }

    /// Goes no further, if this is the place.
    pub(crate) fn at(&self, place: &str) {
        if self.place.as_deref() != Some(OsStr::new(place)) {
            return;
        }
        if let Some(told) = self.told {
            let _ = rustix::io::write(told, b"halted\n");
        }
        loop {
            let _ = rustix::thread::nanosleep(&rustix::thread::Timespec { tv_sec: 3_600, tv_nsec: 0 });
        }
    }
}
