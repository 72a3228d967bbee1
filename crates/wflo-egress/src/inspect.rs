//! Hosts whose TLS is ended here, so that requests can be judged one by one.
//!
//! The program speaks TLS with this proxy, by a certificate of an authority that its sandbox alone trusts
//! ([`authority`]); the proxy speaks TLS with the host, whose certificate is verified against the roots that
//! this machine trusts ([`roots`]). Between the two stands the reading that plain HTTP has: each request is parsed
//! once, judged, written anew, and sent on a connection of its own, so that no two parsers can disagree
//! about where one ends. HTTP/1.1 only: nothing else is offered.

pub(crate) mod authority;
pub mod roots;
mod shown;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use self::shown::Shown;

use self::authority::Authority;
use self::roots::{Roots, RootsError};
use crate::forward::{self, Along, Served};
use crate::host::{Host, Target};
use crate::refusal::Refusal;
use crate::relay::Counted;
use crate::request::Request;
use crate::rules::Rule;
use crate::secrets::Secrets;
use crate::serve::{Shared, close_after, next_request};
use crate::tunnel::{self, ESTABLISHED, TLS_DENIED};

/// What is needed to look into the connections of one sandbox.
#[derive(Debug)]
pub struct Inspection {
    authority: Authority,
    roots: Arc<Roots>,
    pub(crate) secrets: Secrets,
}

impl Inspection {
    /// A new authority, for one sandbox. Its key stays in here.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(roots: Arc<Roots>, secrets: Secrets) -> Result<Inspection, RootsError> {
        Ok(Inspection { authority: Authority::new()?, roots, secrets })
    }

    /// The certificates that the sandbox trusts, as a PEM file: this machine's, and the authority's.
    pub fn bundle(&self) -> String {
        self.roots.bundle(self.authority.certificate())
    }

    /// The same as a file that can be shown to it.
    ///
    /// # Errors
    /// That no file can be made.
    pub fn shown(&self) -> std::io::Result<Shown> {
        Shown::new(&self.bundle())
    }

    /// The authority's certificate alone, as a PEM file.
    pub fn certificate(&self) -> &str {
        self.authority.certificate()
    }

    /// The secrets of the sandbox.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// TLS with a host that has been dialled.
    pub(crate) async fn connect(
        &self,
        stream: Counted,
        target: &Target,
    ) -> Result<tokio_rustls::client::TlsStream<Counted>, Refusal> {
        let name = match &target.host {
            Host::Address(address) => ServerName::IpAddress((*address).into()),
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| Refusal::Certificate {
                target: target.clone(),
                why: "the name is none".to_owned(),
            })?,
        };
        let connected = TlsConnector::from(self.roots.client()).connect(name, stream).await;
        connected.map_err(|error| Refusal::Certificate { target: target.clone(), why: said(&error) })
    }
}

/// What went wrong with TLS, in characters that a first line may have.
fn said(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.chars().take(200).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

/// The variables by which stock clients find the certificates that they trust, which are at `path`.
pub fn trust_env(path: &str) -> Vec<(String, String)> {
    // Node adds its file to its own roots, the others have none beside theirs.
    let names = [
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
        "CURL_CA_BUNDLE",
        "GIT_SSL_CAINFO",
        "PIP_CERT",
        "CARGO_HTTP_CAINFO",
        "AWS_CA_BUNDLE",
        "DENO_CERT",
    ];
    names.map(|name| (name.to_owned(), path.to_owned())).to_vec()
}

/// Serves one tunnel whose requests are looked at; `buffer` is what the client has sent after its own. `answered` are
/// the questions to which people have said yes for this very connection.
pub(crate) async fn serve(
    shared: &Shared,
    inspection: &Inspection,
    mut client: TcpStream,
    mut buffer: BytesMut,
    target: Target,
    answered: &[Rule],
) {
    if client.write_all(ESTABLISHED).await.is_err() {
        return;
    }
    match tunnel::first_message(shared, &mut client, &mut buffer, &target).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(why) => {
            let answer = tunnel::alert(&why);
            shared.witness.refused(Some(&target), &Refusal::Hello { target: target.clone(), why });
            close_after(client, answer).await;
            return;
        }
    }
    let Ok(config) = inspection.authority.server(&target.host) else {
        close_after(client, TLS_DENIED).await;
        return;
    };
    let accepted = TlsAcceptor::from(config).accept(Begun { sent: buffer, stream: client });
    let mut client = match timeout(shared.limits.head, accepted).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => {
            let refusal = Refusal::Handshake { target: target.clone(), why: said(&error) };
            shared.witness.refused(Some(&target), &refusal);
            return;
        }
        Err(_) => return,
    };
    let (mut buffer, mut is_first) = (BytesMut::new(), true);
    loop {
        let read = |head: &[u8]| Request::within(head, &target);
        let asked = match next_request(shared, &mut client, &mut buffer, is_first, read).await {
            Ok(Some(asked)) => asked,
            Ok(None) => break,
            Err(refusal) => {
                shared.witness.refused(Some(&target), &refusal);
                close_after(client, &refusal.answer()).await;
                return;
            }
        };
        let along = Along::Inspected { inspection, answered };
        match forward::serve(shared, &mut client, &mut buffer, asked, along).await {
            Served::Kept => is_first = false,
            Served::Closed => break,
            Served::Refused(refusal) => {
                close_after(client, &refusal.answer()).await;
                return;
            }
        }
    }
    let _ = timeout(shared.limits.head, client.shutdown()).await;
}

/// A client of which some bytes have been read already.
struct Begun {
    sent: BytesMut,
    stream: TcpStream,
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.sent.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let length = self.sent.len().min(buf.remaining());
        buf.put_slice(self.sent.get(..length).unwrap_or_default());
        self.sent.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
