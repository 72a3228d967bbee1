//! What a sandbox's program says, through pipes.

use std::os::fd::OwnedFd;

use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

/// A pipe from a sandbox: our end does not block, the program's is as programs expect it.
pub(crate) fn pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

/// A pipe to a sandbox: the program's end, as programs expect it, and ours, which does not block.
pub(crate) fn pipe_to() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&write, true)?;
    Ok((read, write))
}

/// A socket to a runner: our end, and the one that it is given.
pub(crate) fn socket() -> std::io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs.into()))
}

/// Reads a pipe to its end and gives the last `most` bytes.
pub(crate) async fn tail(pipe: OwnedFd, most: usize) -> Vec<u8> {
    let Ok(mut pipe) = tokio::net::unix::pipe::Receiver::from_owned_fd(pipe) else { return Vec::new() };
    let (mut kept, mut buffer) = (Vec::new(), vec![0_u8; 16 << 10]);
    while let Ok(read) = pipe.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..read]);
        if kept.len() > 2 * most {
            kept.drain(..kept.len() - most);
        }
    }
    let from = kept.len().saturating_sub(most);
    kept.split_off(from)
}
