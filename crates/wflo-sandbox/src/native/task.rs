//! An order on its way from the launcher to the pid 1 that carries it out.
//!
//! Owns what goes over their socket and in which order. Whether the pid 1 is younger or older than the order
//! makes no difference to either.

use super::plan::Plan;
use super::sys::socket;
use super::wire::Order;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// An order with all that came with it, and with what the launcher opened for it.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) order: Order,
    pub(crate) control: OwnedFd,
    /// Not to be let go before the sandbox's last process is gone.
    pub(crate) held: Option<OwnedFd>,
    /// The program's descriptors, standard ones first.
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) plan: Plan,
}

/// The same as the launcher has it.
pub(crate) struct Handed<'a> {
    /// The order, encoded.
    pub(crate) request: BorrowedFd<'a>,
    pub(crate) control: BorrowedFd<'a>,
    pub(crate) held: Option<BorrowedFd<'a>>,
    pub(crate) fds: &'a [OwnedFd],
    pub(crate) plan: &'a Plan,
}

impl Handed<'_> {
    /// Sends it to a pid 1: the plan with the order's own descriptors, then the plan's.
    ///
    /// # Errors
    /// Where nobody takes it, or not all of it: then nothing has been begun for it.
    pub(crate) fn send(&self, to: BorrowedFd<'_>) -> io::Result<()> {
        let (bytes, mounts) = self.plan.encode();
        let mut first = (mounts.len() as u32).to_le_bytes().to_vec();
        first.extend(bytes);
        if first.len() > ROOM {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        let mut own = vec![self.request, self.control];
        own.extend(self.held);
        own.extend(self.fds.iter().map(AsFd::as_fd));
        socket::send(to, &first, &own)?;
        mounts.chunks(socket::MAX_FDS).try_for_each(|part| socket::send(to, b"M", part))
    }
}

impl Task {
    /// Receives one; waits for it, or for the launcher's end, with `wait`.
    ///
    /// # Errors
    /// `WouldBlock` when there is none and `wait` is false; `EPIPE` when the launcher is gone.
    pub(crate) fn receive(from: BorrowedFd<'_>, wait: bool) -> io::Result<Self> {
        let error = io::Error::from_raw_os_error;
        let mut buffer = vec![0; ROOM];
        let mut next = |wait| {
            let (length, fds) =
                socket::receive(from, &mut buffer, wait)?.ok_or_else(|| error(libc::EPIPE))?;
            io::Result::Ok((buffer.get(..length).unwrap_or_default().to_vec(), fds))
        };
        let (first, own) = next(wait)?;
        let (count, plan) = first.split_first_chunk().ok_or_else(|| error(libc::EPROTO))?;
        let count = u32::from_le_bytes(*count) as usize;
        let mut mounts = Vec::new();
        while mounts.len() < count {
            mounts.extend(next(true)?.1);
        }
        let plan = Plan::decode(plan, mounts.into_iter()).ok_or_else(|| error(libc::EPROTO))?;
        let mut own = own.into_iter();
        let (Some(request), Some(control)) = (own.next(), own.next()) else {
            return Err(error(libc::EPROTO));
        };
        let order = read(&request)?;
        let held = if order.held { own.next() } else { None };
        Ok(Task { order, control, held, fds: own.collect(), plan })
    }
}

/// The most bytes of a plan: a few for each path that an order names, of which there are as many as descriptors.
const ROOM: usize = 64 << 10;

/// Reads an order.
///
/// # Errors
/// `EPROTO` when it is none.
pub(crate) fn read(file: &OwnedFd) -> io::Result<Order> {
    let size = rustix::fs::fstat(file)?.st_size as usize;
    let mut bytes = vec![0; size];
    let mut at = 0;
    while at < size {
        let Some(rest) = bytes.get_mut(at..) else { break };
        match rustix::io::pread(file, rest, at as u64)? {
            0 => break,
            read => at += read,
        }
    }
    Order::decode(&bytes).ok_or_else(|| io::Error::from_raw_os_error(libc::EPROTO))
}
