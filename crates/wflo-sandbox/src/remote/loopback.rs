//! A loopback of our own for listeners that only kept programs may reach.
//!
//! What a kept program connects to comes to the engine as a stream of frames, and the engine
//! serves listeners. On the host's loopback anybody on this host could connect to those. So they are
//! bound in a network namespace that holds nothing else: a helper process, which is this same binary,
//! makes one, binds there, hands the listeners out, and makes the connections to them that it is asked
//! for. It ends with the socket to its engine.

use crate::native::sys::{Fault, process, socket};
use crate::native::{LAUNCHER_ARGUMENT, net};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::sync::{Mutex, PoisonError};

/// The second argument that makes the launcher this helper.
pub(crate) const LOOPBACK: &str = "loopback";
/// How long it may take to answer, in milliseconds.
const PATIENCE_MS: i64 = 10_000;

/// The engine's side.
#[derive(Debug)]
pub(crate) struct Loopback {
    socket: Mutex<Option<OwnedFd>>,
    child: Mutex<Child>,
}

impl Loopback {
    /// Starts the helper.
    ///
    /// # Errors
    /// Why there can be no such namespace here, in words.
    pub(crate) fn start(program: &Path) -> Result<Loopback, String> {
        let words = |error: io::Error| error.to_string();
        let (ours, theirs) = socket::pair().map_err(words)?;
        let child = Command::new(program)
            .args([LAUNCHER_ARGUMENT, LOOPBACK])
            .env_clear()
            .current_dir("/")
            .stdin(theirs)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .map_err(words)?;
        let loopback = Loopback { socket: Mutex::new(Some(ours)), child: Mutex::new(child) };
        let (said, _) = loopback.hear().map_err(words)?;
        match said.split_first() {
            Some((b'R', _)) => Ok(loopback),
            _ => Err(String::from_utf8_lossy(&said).into_owned()),
        }
    }

    /// A listener there, and its port.
    pub(crate) fn listen(&self) -> io::Result<(OwnedFd, u16)> {
        let (said, fds) = self.ask(b"L")?;
        let port = said.get(1..3).and_then(|two| two.try_into().ok()).map(u16::from_le_bytes);
        match (fds.into_iter().next(), port) {
            (Some(listener), Some(port)) => Ok((listener, port)),
            _ => Err(io::Error::from_raw_os_error(libc::EPROTO)),
        }
    }

    /// A connection to a listener there; it does not block.
    pub(crate) fn connect(&self, port: u16) -> io::Result<OwnedFd> {
        let [low, high] = port.to_le_bytes();
        let (_, fds) = self.ask(&[b'C', low, high])?;
        fds.into_iter().next().ok_or_else(|| io::Error::from_raw_os_error(libc::ECONNREFUSED))
    }

    fn ask(&self, what: &[u8]) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || io::Error::from_raw_os_error(libc::EPIPE);
        let fd = socket.as_ref().ok_or_else(gone)?;
        socket::send(fd.as_fd(), what, &[])?;
        hear(fd.as_fd())
    }

    fn hear(&self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        hear(socket.as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::EPIPE))?.as_fd())
    }
}

fn hear(socket: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let ready = socket::poll(&[(socket, libc::POLLIN)], Some(PATIENCE_MS))?;
    if ready.first().is_none_or(|events| *events == 0) {
        return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
    }
    let mut buffer = [0; 512];
    match socket::receive(socket, &mut buffer, false)? {
        Some((length, fds)) => Ok((buffer.get(..length).unwrap_or_default().to_vec(), fds)),
        None => Err(io::Error::from_raw_os_error(libc::EPIPE)),
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        // Its end tells the helper that it is not needed any more.
        drop(self.socket.lock().unwrap_or_else(PoisonError::into_inner).take());
        let _ = self.child.lock().unwrap_or_else(PoisonError::into_inner).wait();
    }
}

/// The whole life of the helper, whose socket is at number 0.
pub(crate) fn main() -> ExitCode {
    let engine = rustix::stdio::stdin();
    process::close_range(3, i32::MAX);
    let prepared = prepare();
    let greeting = match &prepared {
        Ok(()) => b"R".to_vec(),
        Err(fault) => {
            let reason = io::Error::from_raw_os_error(fault.errno);
            format!("{}: {reason}", fault.step).into_bytes()
        }
    };
    if socket::send(engine, &greeting, &[]).is_err() || prepared.is_err() {
        return ExitCode::FAILURE;
    }
    let mut buffer = [0; 16];
    while let Ok(Some((length, _))) = socket::receive(engine, &mut buffer, true) {
        let answered = match buffer.get(..length) {
            Some(b"L") => match net::listen() {
                Ok((listener, port)) => {
                    let [low, high] = port.to_le_bytes();
                    socket::send(engine, &[b'L', low, high], &[listener.as_fd()])
                }
                Err(_) => socket::send(engine, b"X", &[]),
            },
            Some([b'C', low, high]) => match connect(u16::from_le_bytes([*low, *high])) {
                Ok(connection) => socket::send(engine, b"C", &[connection.as_fd()]),
                Err(_) => socket::send(engine, b"X", &[]),
            },
            _ => socket::send(engine, b"X", &[]),
        };
        if answered.is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

fn prepare() -> Result<(), Fault> {
    use crate::native::sys::At;
    let step = "making a network namespace";
    let own_user = if rustix::process::geteuid().is_root() { 0 } else { libc::CLONE_NEWUSER };
    process::unshare(own_user | libc::CLONE_NEWNET).step(step)?;
    net::up()?;
    process::drop_capabilities().step(step)?;
    process::no_new_privileges().step(step)?;
    process::set_dumpable(false).step(step)
}

/// Never waits: a listener whose queue is full must not hold up the others.
fn connect(port: u16) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}
