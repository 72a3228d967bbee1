//! CONNECT: a connection for the client's own TLS, begun for the host that was judged.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::hello::{self, HelloError, Progress};
use crate::host::Target;
use crate::limits::Flow;
use crate::refusal::Refusal;
use crate::relay::Counted;
use crate::rules::Through;
use crate::serve::{Shared, close_after};
use crate::witness::{End, Open, Opening, Way};

/// The fatal alert `access_denied` (RFC 8446, 6.2), for a client that waits for an answer in TLS.
pub(crate) const TLS_DENIED: &[u8] = &[21, 3, 1, 0, 2, 2, 49];

/// Serves one tunnel; `buffer` is what the client has sent after its request.
pub(crate) async fn serve(shared: &Shared, mut client: TcpStream, buffer: BytesMut, target: Target) {
    match open(shared, &target).await {
        Err(refusal) => {
            shared.witness.refused(Some(&target), &refusal);
            close_after(client, &refusal.answer()).await;
        }
        Ok((through, flow, mut open, slot)) => {
            open.end = match carry(shared, &mut client, buffer, &target, through, &flow, &mut open).await {
                Ok(end) => end,
                Err((refusal, answer)) => {
                    close_after(client, &answer).await;
                    End::Refused(refusal)
                }
            };
            drop((open, slot));
        }
    }
}

type Opened = (Through, Arc<Flow>, Open, tokio::sync::OwnedSemaphorePermit);

async fn open(shared: &Shared, target: &Target) -> Result<Opened, Refusal> {
    let denied = |why| Refusal::Denied { target: target.clone(), why };
    let through = shared.rules.tunnel(target).map_err(denied)?;
    let slot = shared.allowance.admit()?;
    let way = if through == Through::Tls { Way::Tls } else { Way::Tcp };
    let opening = Opening { id: shared.next_id(), target: target.clone(), way, request: None };
    let flow = Arc::new(Flow::new(Arc::clone(&shared.allowance)));
    let open = Open::record(&shared.witness, opening, Arc::clone(&flow)).await?;
    Ok((through, flow, open, slot))
}

/// Carries bytes until both sides are done; an error comes with what the client is told of it.
async fn carry(
    shared: &Shared,
    client: &mut TcpStream,
    mut buffer: BytesMut,
    target: &Target,
    through: Through,
    flow: &Arc<Flow>,
    open: &mut Open,
) -> Result<End, (Refusal, Vec<u8>)> {
    let told = |refusal: Refusal| {
        let answer = refusal.answer();
        (refusal, answer)
    };
    let stream = shared.dial(target).await.map_err(told)?;
    open.address = stream.peer_addr().ok().map(|peer| peer.ip());
    let mut host = Counted::new(stream, Arc::clone(flow));
    if client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.is_err() {
        return Ok(End::Broken);
    }
    if through == Through::Tls {
        match first_message(shared, client, &mut buffer, target).await {
            Ok(true) => {}
            Ok(false) => return Ok(End::Broken),
            Err(why) => {
                // Who speaks no TLS would not understand an alert.
                let answer = if why == HelloError::NotTls { Vec::new() } else { TLS_DENIED.to_vec() };
                return Err((Refusal::Hello { target: target.clone(), why }, answer));
            }
        }
    }
    let relay = async {
        host.write_all(&buffer).await?;
        drop(buffer);
        tokio::io::copy_bidirectional(client, &mut host).await
    };
    let end = tokio::select! {
        done = relay => match done {
            Ok(_) => End::Done,
            Err(_) if flow.is_over() => End::Refused(crate::limits::Limit::Bytes.into()),
            Err(_) => End::Broken,
        },
        () = flow.timed_out(&shared.limits) => End::TimedOut,
    };
    Ok(end)
}

/// Reads until TLS is begun for the host; false when the client has gone.
async fn first_message(
    shared: &Shared,
    client: &mut TcpStream,
    buffer: &mut BytesMut,
    target: &Target,
) -> Result<bool, HelloError> {
    let read = async {
        loop {
            if let Progress::Whole { name } = hello::read(buffer)? {
                return hello::judge(name.as_deref(), &target.host).map(|()| true);
            }
            match client.read_buf(buffer).await {
                Ok(1..) => {}
                _ => return Ok(false),
            }
        }
    };
    timeout(shared.limits.head, read).await.unwrap_or(Ok(false))
}
