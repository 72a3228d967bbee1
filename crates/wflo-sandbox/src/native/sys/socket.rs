//! Messages with descriptors over a sequenced-packet Unix socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// The most descriptors that one message carries (`SCM_MAX_FD`).
pub(crate) const MAX_FDS: usize = 253;
const SPACE: usize = 1200;

#[repr(C, align(8))]
struct Ancillary([u8; SPACE]);

/// A connected pair that closes on exec; message boundaries are kept.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message; it arrives whole or not at all. A refusal says nothing of what the other side had sent before.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if fds.len() > MAX_FDS {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    let mut io_vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut ancillary = Ancillary([0; SPACE]);
    // SAFETY: an all-zero header is valid: no name, no vector, no control data.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut io_vector;
    header.msg_iovlen = 1;
    if !fds.is_empty() {
        let length = size_of_val(fds);
        header.msg_control = ancillary.0.as_mut_ptr().cast();
        // SAFETY: pure arithmetic on a length that MAX_FDS bounds.
        header.msg_controllen = unsafe { libc::CMSG_SPACE(length as libc::c_uint) } as _;
        // SAFETY: the control buffer is aligned and holds CMSG_SPACE of MAX_FDS descriptors.
        unsafe {
            let control = libc::CMSG_FIRSTHDR(&raw const header);
            (*control).cmsg_level = libc::SOL_SOCKET;
            (*control).cmsg_type = libc::SCM_RIGHTS;
            (*control).cmsg_len = libc::CMSG_LEN(length as libc::c_uint) as _;
            let data = libc::CMSG_DATA(control).cast::<RawFd>();
            for (index, fd) in fds.iter().enumerate() {
                data.add(index).write_unaligned(fd.as_raw_fd());
            }
        }
    }
    loop {
        // SAFETY: the header points at live buffers of the lengths it states.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) };
        if sent >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Receives one message into `buffer`; `Ok(None)` when the other side is gone.
///
/// # Errors
/// `WouldBlock` without a message when `wait` is false; `E2BIG` when a message was cut.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    wait: bool,
) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    let mut io_vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut ancillary = Ancillary([0; SPACE]);
    // SAFETY: an all-zero header is valid: no name, no vector, no control data.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut io_vector;
    header.msg_iovlen = 1;
    header.msg_control = ancillary.0.as_mut_ptr().cast();
    header.msg_controllen = SPACE as _;
    let flags = libc::MSG_CMSG_CLOEXEC | if wait { 0 } else { libc::MSG_DONTWAIT };
    let received = loop {
        // SAFETY: the header points at live buffers of the lengths it states.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
        if received >= 0 {
            break received as usize;
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // The second is said once, before all that the other side of a connected pair had sent, when it was closed
            // with something unread in it: what had been sent is still there, and the end behind it.
            Some(libc::EINTR | libc::ECONNRESET) => {}
            _ => return Err(error),
        }
    };
    let mut fds = Vec::new();
    // SAFETY: the kernel has filled the control buffer; the macros walk only within its length,
    // and each descriptor found is ours alone.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(&raw const header);
        while !control.is_null() {
            if (*control).cmsg_level == libc::SOL_SOCKET && (*control).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*control).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(control).cast::<RawFd>();
                for index in 0..bytes / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
                }
            }
            control = libc::CMSG_NXTHDR(&raw const header, control);
        }
    }
    if header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    if received == 0 && fds.is_empty() { Ok(None) } else { Ok(Some((received, fds))) }
}

/// Waits until one of the descriptors has something to say; gives each one's events.
///
/// `None` waits for ever. A hang-up is always reported.
pub(crate) fn poll(fds: &[(BorrowedFd<'_>, i16)], timeout_ms: Option<i64>) -> io::Result<Vec<i16>> {
    poll_for(fds, timeout_ms.map(|ms| Duration::from_millis(ms.max(0).unsigned_abs())))
}

/// As [`poll`], with a time-out that may be shorter than a millisecond.
pub(crate) fn poll_for(fds: &[(BorrowedFd<'_>, i16)], timeout: Option<Duration>) -> io::Result<Vec<i16>> {
    let mut polled: Vec<libc::pollfd> = fds
        .iter()
        .map(|(fd, events)| libc::pollfd { fd: fd.as_raw_fd(), events: *events, revents: 0 })
        .collect();
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let pointer = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the array and the time-out live through the call; no signal mask is passed.
    let ready =
        unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, pointer, std::ptr::null()) };
    if ready < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        polled.iter_mut().for_each(|slot| slot.revents = 0);
    }
    Ok(polled.iter().map(|slot| slot.revents).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn what_was_sent_is_received_although_the_sender_left_something_unread() {
        for wait in [false, true] {
            let (ours, theirs) = pair().unwrap();
            send(theirs.as_fd(), b"first", &[]).unwrap();
            send(ours.as_fd(), b"question", &[]).unwrap();
            send(theirs.as_fd(), b"last", &[]).unwrap();
            drop(theirs);
            let mut buffer = [0; 16];
            for expected in [b"first".as_slice(), b"last"] {
                let (length, _) = receive(ours.as_fd(), &mut buffer, wait).unwrap().unwrap();
                assert_eq!(&buffer[..length], expected);
            }
            assert!(receive(ours.as_fd(), &mut buffer, wait).unwrap().is_none());
        }
    }
}
