//! From a target that a rule allows to a connection with an address that was judged.
//!
//! **Architecture Invariant:** a name is resolved once; every address of the answer is judged before any of
//! them is dialled, and what is dialled is an address of that answer.

use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::address::{self, Special};
use crate::host::{Host, Target};
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::resolve::Resolver;
use crate::rules::Rules;

/// The most addresses of an answer; one with more is refused.
const ANSWERS: usize = 64;
/// How many of them are tried.
const TRIED: usize = 4;

/// Connects to `target`, which a rule allows.
///
/// # Errors
/// Why it is not reached.
pub async fn dial(
    resolver: &dyn Resolver,
    rules: &Rules,
    target: &Target,
    limits: &Limits,
) -> Result<TcpStream, Refusal> {
    let addresses = addresses(resolver, target, limits).await?;
    for address in &addresses {
        judge(rules, target, *address)?;
    }
    let unreachable = |why: String| Refusal::Unreachable { target: target.clone(), why };
    let mut last = "it did not answer in time".to_owned();
    let try_all = async {
        for address in addresses.iter().take(TRIED) {
            match TcpStream::connect(SocketAddr::new(*address, target.port)).await {
                Ok(stream) => return Some((stream, *address)),
                Err(error) => last = said(&error),
            }
        }
        None
    };
    let Ok(Some((stream, address))) = timeout(limits.dial, try_all).await else {
        return Err(unreachable(last));
    };
    // A host can get an address of its own between the judgement and now.
    let ends = (stream.local_addr().map(|own| own.ip()), stream.peer_addr().map(|peer| peer.ip()));
    match ends {
        (Ok(_), Ok(peer)) if peer != address => Err(unreachable("another address answered".to_owned())),
        (Ok(own), Ok(peer)) if own == peer && !rules.may_be_dialled(&target.host, address) => {
            Err(own_one(target))
        }
        (Ok(_), Ok(_)) => {
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        (Err(error), _) | (_, Err(error)) => Err(unreachable(said(&error))),
    }
}

async fn addresses(
    resolver: &dyn Resolver,
    target: &Target,
    limits: &Limits,
) -> Result<Vec<IpAddr>, Refusal> {
    let name = match &target.host {
        Host::Address(address) => return Ok(vec![*address]),
        Host::Name(name) => name.clone(),
    };
    let answer = timeout(limits.resolve, resolver.resolve(name)).await;
    let mut found = match answer {
        Ok(Ok(found)) if (1..=ANSWERS).contains(&found.len()) => found,
        _ => return Err(Refusal::Unresolved { target: target.clone() }),
    };
    let mut seen = Vec::new();
    found.retain(|address| {
        let is_new = !seen.contains(address);
        seen.push(*address);
        is_new
    });
    Ok(found)
}

fn judge(rules: &Rules, target: &Target, found: IpAddr) -> Result<(), Refusal> {
    if rules.may_be_dialled(&target.host, found) {
        return Ok(());
    }
    address::public(found).map_err(|special| Refusal::Address { target: target.clone(), special })?;
    if address::is_own(found) { Err(own_one(target)) } else { Ok(()) }
}

fn own_one(target: &Target) -> Refusal {
    Refusal::Address { target: target.clone(), special: Special("this machine's own") }
}

/// What the kernel said, in words without addresses.
fn said(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        std::io::ErrorKind::TimedOut => "it did not answer in time".to_owned(),
        std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::HostUnreachable => {
            "this machine has no way to it".to_owned()
        }
        _ => "the connection failed".to_owned(),
    }
}
