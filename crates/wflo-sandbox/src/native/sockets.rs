//! What a sandbox holds in socket buffers, where no cgroup counts them as memory.
//!
//! TCP buffers are nobody's memory under cgroup v1, and no buffer is without cgroups. Pid 1 asks the
//! kernel by `sock_diag(7)`, in the sandbox's own network namespace. That walks the host's whole
//! table of connections (a millisecond), so it is asked only when so many sockets could hold too
//! much: their number costs nothing, and what one can hold has a bound that [`bound`] sets, and that
//! the filter keeps by ignoring `SO_SNDBUF` and `SO_RCVBUF`.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The most that TCP keeps for one socket in each direction.
const TCP_MOST: u64 = 512 << 10;
/// The most that one socket holds, with a last packet on top.
const MOST: u64 = 2 * TCP_MOST + (256 << 10);

/// Where settings of TCP are, below `/proc`.
pub(crate) const SETTINGS: &str = "sys/net/ipv4";
/// Least, at first and most, as the kernel's settings want them.
const BOUNDS: [(&str, &str); 2] = [("tcp_wmem", "4096 16384 524288"), ("tcp_rmem", "4096 131072 524288")];

/// Bounds what TCP keeps for one socket of this process's network namespace. `settings` is [`SETTINGS`]
/// of a `/proc` that may be written.
///
/// # Errors
/// What the kernel says: each sum has to be asked for then.
pub(crate) fn bound(settings: BorrowedFd<'_>) -> io::Result<()> {
    for (setting, value) in BOUNDS {
        let file = rustix::fs::openat(settings, setting, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&file, value.as_bytes())?;
    }
    Ok(())
}

/// Whether sockets of other families begin with no more than what [`bound`] allows TCP: the host's
/// setting, the same for every network namespace.
pub(crate) fn defaults_fit() -> bool {
    let fits = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/net/core/{name}"));
        text.is_ok_and(|text| text.trim().parse::<u64>().is_ok_and(|bytes| bytes <= TCP_MOST))
    };
    fits("wmem_default") && fits("rmem_default")
}

/// A socket that answers about the network namespace that it is made in.
///
/// # Errors
/// Where the kernel has none.
pub(crate) fn diagnosis() -> io::Result<OwnedFd> {
    let kind = (SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG));
    Ok(rustix::net::socket_with(AddressFamily::NETLINK, kind.0, kind.1, kind.2)?)
}

/// Whether this kernel says what sockets hold.
pub(crate) fn can_tell() -> bool {
    // No state is none of the sockets: only whether there is somebody to answer.
    diagnosis().is_ok_and(|diagnosis| ASKED.iter().all(|kind| ask(diagnosis.as_fd(), *kind, 0).is_ok()))
}

/// What is asked for in turn: the family and its protocol.
const ASKED: [(AddressFamily, i32); 5] = [
    (AddressFamily::UNIX, 0),
    (AddressFamily::INET, libc::IPPROTO_TCP),
    (AddressFamily::INET6, libc::IPPROTO_TCP),
    (AddressFamily::INET, libc::IPPROTO_UDP),
    (AddressFamily::INET6, libc::IPPROTO_UDP),
];

/// The sockets of one network namespace, this process's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sockets<'a> {
    pub(crate) diagnosis: Option<BorrowedFd<'a>>,
    /// Whether [`bound`] has been done, and [`defaults_fit`].
    pub(crate) bounded: bool,
}

impl Sockets<'_> {
    /// Bytes in the buffers of all sockets; 0 when they fit into `room` whatever they hold.
    pub(crate) fn held(&self, room: u64) -> u64 {
        let used =
            std::fs::read_to_string("/proc/net/sockstat").ok().and_then(|text| used(&text)).unwrap_or(0);
        if self.bounded && used.saturating_mul(MOST) <= room {
            return 0;
        }
        let told = self.diagnosis.and_then(|diagnosis| {
            ASKED.iter().try_fold((0, 0), |(count, bytes), kind| {
                let (more, held) = ask(diagnosis, *kind, u32::MAX).ok()?;
                Some((count + more, bytes + held))
            })
        });
        match told {
            // Who is not told of has been closed or reset with something in it, or has no table.
            Some((count, bytes)) => bytes + used.saturating_sub(count) * TCP_MOST,
            None => used.saturating_mul(MOST),
        }
    }
}

/// How many sockets there are, closed ones that still hold something included.
fn used(sockstat: &str) -> Option<u64> {
    sockstat.lines().find_map(|line| line.strip_prefix("sockets: used "))?.trim().parse().ok()
}

/// How many sockets of a kind there are in these states, and the bytes in their buffers.
fn ask(
    diagnosis: BorrowedFd<'_>,
    (family, protocol): (AddressFamily, i32),
    states: u32,
) -> rustix::io::Result<(u64, u64)> {
    let request = request(family, protocol, states);
    rustix::net::send(diagnosis, &request, SendFlags::DONTWAIT)?;
    let (fixed, wanted) = if family == AddressFamily::UNIX { UNIX } else { INET };
    let mut buffer = [0; 32 << 10];
    let (mut count, mut bytes) = (0, 0);
    loop {
        let (length, _) = rustix::net::recv(diagnosis, &mut buffer, RecvFlags::DONTWAIT)?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((kind, message)) = next(&mut rest, MESSAGE) {
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok((count, bytes)),
                libc::NLMSG_ERROR => return Err(Errno::OPNOTSUPP),
                _ => {}
            }
            count += 1;
            let mut attributes = message.get(fixed..).unwrap_or_default();
            while let Some((name, value)) = next(&mut attributes, ATTRIBUTE) {
                if name == wanted {
                    bytes += held_by(value);
                }
            }
        }
    }
}

/// Bytes before the attributes of an answer, and the attribute that tells of memory
/// (`unix_diag_msg`, `UNIX_DIAG_MEMINFO`; `inet_diag_msg`, `INET_DIAG_SKMEMINFO`).
const UNIX: (usize, u16) = (16, 5);
const INET: (usize, u16) = (72, 7);

/// How long a header is, how many bytes its length has, and where its kind is.
type Header = (usize, usize, usize);
const MESSAGE: Header = (16, 4, 4);
const ATTRIBUTE: Header = (4, 2, 2);

/// Takes one message, or attribute, off: its kind and what is in it.
fn next<'a>(rest: &mut &'a [u8], (header, digits, at): Header) -> Option<(u16, &'a [u8])> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    let length = number(rest.get(..digits)?);
    let kind = number(rest.get(at..at + 2)?) as u16;
    let content = rest.get(header..length)?;
    *rest = rest.get((length + 3) & !3..).unwrap_or_default();
    // Names of attributes have two flags on top.
    Some((kind & 0x3fff, content))
}

/// The bytes that a socket's buffers take (`sk_meminfo`): received, sent or to be sent, set aside,
/// and not yet taken by its owner.
fn held_by(memory: &[u8]) -> u64 {
    let part = |index: usize| {
        let bytes = memory.get(4 * index..4 * index + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_ne_bytes).into()
    };
    let [received, sending, aside, queued, backlog]: [u64; 5] = [part(0), part(2), part(4), part(5), part(7)];
    received + sending.max(queued) + aside + backlog
}

fn request(family: AddressFamily, protocol: i32, states: u32) -> Vec<u8> {
    let mut body = vec![family.as_raw() as u8, protocol as u8];
    if family == AddressFamily::UNIX {
        body.extend([0, 0]);
        body.extend(states.to_ne_bytes());
        body.extend(0_u32.to_ne_bytes());
        body.extend((1_u32 << UNIX.1).to_ne_bytes());
        body.extend([0; 8]);
    } else {
        body.extend([1 << (INET.1 - 1), 0]);
        body.extend(states.to_ne_bytes());
        body.extend([0; 48]);
    }
    // SOCK_DIAG_BY_FAMILY, a request for all.
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
    message.extend(20_u16.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_number_of_sockets_is_read() {
        assert_eq!(used("sockets: used 17\nTCP: inuse 3 orphan 0 tw 0 alloc 9 mem 1\n"), Some(17));
        assert_eq!(used(""), None);
    }

    #[test]
    fn what_is_queued_is_told() {
        let (mut sender, _receiver) = std::os::unix::net::UnixStream::pair().unwrap();
        sender.set_nonblocking(true).unwrap();
        let mut queued = 0;
        while let Ok(length) = sender.write(&[0; 65_536]) {
            queued += length as u64;
        }
        let diagnosis = diagnosis().unwrap();
        let (count, bytes) = ask(diagnosis.as_fd(), ASKED[0], u32::MAX).unwrap();
        assert!(count >= 2 && bytes >= queued, "{count} {bytes} {queued}");
        let all = Sockets { diagnosis: Some(diagnosis.as_fd()), bounded: false };
        assert!(all.held(0) >= queued);
        assert!(can_tell());
    }

    #[test]
    fn a_cut_answer_is_the_end() {
        let mut rest: &[u8] = &[20, 0, 0, 0, 20, 0];
        assert_eq!(next(&mut rest, MESSAGE), None);
        let mut rest: &[u8] = &[2, 0, 7, 0];
        assert_eq!(next(&mut rest, ATTRIBUTE), None);
    }
}
