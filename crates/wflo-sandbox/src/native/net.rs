//! The sandbox's network: a loopback interface of its own, and nothing else.

use super::sys::process::loopback_up;
use super::sys::{At, Fault};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};

const STEP: &str = "preparing the sandbox's network";

/// Brings loopback up; when `wanted`, binds a listener on a port that the kernel chooses.
///
/// There is no route to anywhere else: connecting fails at once with ENETUNREACH.
///
/// # Errors
/// The step that the kernel refused.
pub(crate) fn prepare(wanted: bool) -> Result<Option<(OwnedFd, u16)>, Fault> {
    let socket = socket()?;
    loopback_up(socket.as_fd()).step(STEP)?;
    if !wanted {
        return Ok(None);
    }
    on_loopback(socket).map(Some)
}

/// Binds a listener on the loopback of the namespace that this process is in.
///
/// # Errors
/// The step that the kernel refused.
pub(crate) fn listen() -> Result<(OwnedFd, u16), Fault> {
    on_loopback(socket()?)
}

fn socket() -> Result<OwnedFd, Fault> {
    rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).step(STEP)
}

fn on_loopback(socket: OwnedFd) -> Result<(OwnedFd, u16), Fault> {
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).step(STEP)?;
    rustix::net::listen(&socket, 128).step(STEP)?;
    let address = rustix::net::getsockname(&socket).step(STEP)?;
    let address = SocketAddrV4::try_from(address).step(STEP)?;
    Ok((socket, address.port()))
}
