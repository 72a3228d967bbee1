//! The sandbox's network: a loopback interface of its own, and nothing else.

use super::sys::process::loopback_up;
use super::sys::{At, Fault};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};

/// Brings loopback up; with `listen`, binds a listener on a port that the kernel chooses.
///
/// There is no route to anywhere else: connecting fails at once with ENETUNREACH.
///
/// # Errors
/// The step that the kernel refused.
pub(crate) fn prepare(listen: bool) -> Result<Option<(OwnedFd, u16)>, Fault> {
    let step = "preparing the sandbox's network";
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .step(step)?;
    loopback_up(socket.as_fd()).step(step)?;
    if !listen {
        return Ok(None);
    }
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).step(step)?;
    rustix::net::listen(&socket, 128).step(step)?;
    let address = rustix::net::getsockname(&socket).step(step)?;
    let address = SocketAddrV4::try_from(address).step(step)?;
    Ok(Some((socket, address.port())))
}
