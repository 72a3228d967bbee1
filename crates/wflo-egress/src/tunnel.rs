//! CONNECT: a connection for the client's own TLS, begun for the host that was judged.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::hello::{self, HelloError, Progress};
use crate::host::Target;
use crate::inspect::{self, Inspection};
use crate::limits::Flow;
use crate::refusal::Refusal;
use crate::relay::Counted;
use crate::rules::{Rule, Through};
use crate::secrets::{Misplaced, Place};
use crate::serve::{Shared, close_after};
use crate::witness::{End, Open, Opening, Way};

/// The fatal alert `access_denied` (RFC 8446, 6.2), for a client that waits for an answer in TLS.
pub(crate) const TLS_DENIED: &[u8] = &[21, 3, 1, 0, 2, 2, 49];

/// What a client is told whose tunnel is there.
pub(crate) const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// What is said to a client that has begun TLS wrongly: who speaks none would not understand an alert.
pub(crate) fn alert(why: &HelloError) -> &'static [u8] {
    if *why == HelloError::NotTls { &[] } else { TLS_DENIED }
}

/// Serves one tunnel; `buffer` is what the client has sent after its request.
pub(crate) async fn serve(shared: &Shared, mut client: TcpStream, buffer: BytesMut, target: Target) {
    let began = shared.about(&target);
    match open(shared, &target).await {
        Ok(Opened::Inspected { answered, inspection }) => {
            inspect::serve(shared, &inspection, client, buffer, target, &answered).await;
        }
        Err(refusal) => {
            shared.witness.refused(Some(&target), &refusal);
            close_after(client, &refusal.answer()).await;
        }
        Ok(Opened::Blind(through, flow, mut open, slot)) => {
            open.end = match carry(shared, &mut client, buffer, (&target, &began), through, &flow, &mut open)
                .await
            {
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

enum Opened {
    /// What it carries is the client's and the host's.
    Blind(Through, Arc<Flow>, Box<Open>, tokio::sync::OwnedSemaphorePermit),
    /// Its requests are judged and recorded one by one.
    Inspected { answered: Vec<Rule>, inspection: Arc<Inspection> },
}

async fn open(shared: &Shared, target: &Target) -> Result<Opened, Refusal> {
    let denied = |why| Refusal::Denied { target: target.clone(), why };
    let found = shared.secrets().and_then(|secrets| secrets.found_in(target.host.to_string().as_bytes()));
    if let Some(name) = found {
        let what = Misplaced { name: name.to_owned(), place: Place::Address };
        return Err(Refusal::Misplaced { target: target.clone(), what });
    }
    let (through, answered) = shared.let_tunnel(target).await.map_err(denied)?;
    if let (Through::Inspected, Some(inspection)) = (through, &shared.inspection) {
        return Ok(Opened::Inspected { answered, inspection: Arc::clone(inspection) });
    }
    let slot = shared.allowance.admit()?;
    let way = if through == Through::Raw { Way::Tcp } else { Way::Tls };
    let opening =
        Opening { id: shared.next_id(), target: target.clone(), way, request: None, secrets: Vec::new() };
    let flow = Arc::new(Flow::new(Arc::clone(&shared.allowance)));
    let open = Open::record(&shared.witness, opening, Arc::clone(&flow)).await?;
    Ok(Opened::Blind(through, flow, Box::new(open), slot))
}

/// Carries bytes until both sides are done; an error comes with what the client is told of it.
async fn carry(
    shared: &Shared,
    client: &mut TcpStream,
    mut buffer: BytesMut,
    (target, began): (&Target, &[Rule]),
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
    if client.write_all(ESTABLISHED).await.is_err() {
        return Ok(End::Broken);
    }
    if through != Through::Raw {
        match first_message(shared, client, &mut buffer, target).await {
            Ok(true) => {}
            Ok(false) => return Ok(End::Broken),
            Err(why) => {
                let answer = alert(&why).to_vec();
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
            Err(_) => flow.over().map_or(End::Broken, |limit| End::Refused(limit.into())),
        },
        () = flow.timed_out(&shared.limits) => End::TimedOut,
        refusal = shared.kept_out(target, began) => End::Refused(refusal),
    };
    Ok(end)
}

/// Reads until TLS is begun for the host; false when the client has gone.
pub(crate) async fn first_message(
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
