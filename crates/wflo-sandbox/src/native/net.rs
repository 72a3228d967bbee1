//! The sandbox's network: a loopback interface of its own, and nothing else.

use super::sys::process::loopback_up;
use super::sys::{At, Fault};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};

const STEP: &str = "preparing the sandbox's network";

/// Brings loopback up.
///
/// There is no route to anywhere else: connecting fails at once with ENETUNREACH.
///
/// # Errors
/// The step that the kernel refused.
pub(crate) fn up() -> Result<(), Fault> {
    loopback_up(socket()?.as_fd()).step(STEP)
}

fn socket() -> Result<OwnedFd, Fault> {
    rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).step(STEP)
}

/// Binds a listener on the loopback of the namespace that this process is in, on a port that the
/// kernel chooses.
///
/// # Errors
/// The step that the kernel refused.
pub(crate) fn listen() -> Result<(OwnedFd, u16), Fault> {
    let socket = socket()?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).step(STEP)?;
    rustix::net::listen(&socket, 128).step(STEP)?;
    let address = rustix::net::getsockname(&socket).step(STEP)?;
    let address = SocketAddrV4::try_from(address).step(STEP)?;
    Ok((socket, address.port()))
}
