//! The listener's certificate.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Where certificate and key are, in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, followed by its chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why they cannot be used. It never says what stands in the key's file.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be used: {why}", .file.display())]
pub struct TlsError {
    file: PathBuf,
    why: String,
}

/// The certificate that connections are accepted with now.
pub(super) type Current = watch::Receiver<TlsAcceptor>;

/// The listener's certificate, which is renewed while it serves.
pub(super) struct Certificate {
    files: TlsFiles,
    current: watch::Sender<TlsAcceptor>,
    /// What it shows.
    chain: Mutex<Chain>,
}

type Chain = Vec<CertificateDer<'static>>;

impl Certificate {
    pub(super) fn read(files: TlsFiles) -> Result<Certificate, TlsError> {
        let (acceptor, chain) = files.acceptor()?;
        Ok(Certificate { files, current: watch::Sender::new(acceptor), chain: Mutex::new(chain) })
    }

    /// What connections are accepted with.
    pub(super) fn current(&self) -> Current {
        self.current.subscribe()
    }

    /// Reads the files again; whether it is another certificate.
    pub(super) fn renew(&self) -> Result<bool, TlsError> {
        let (acceptor, chain) = self.files.acceptor()?;
        self.current.send_replace(acceptor);
        let mut shown = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let is_another = *shown != chain;
        *shown = chain;
        Ok(is_another)
    }
}

impl TlsFiles {
    /// What accepts connections with them.
    ///
    /// # Errors
    /// When they cannot be read or do not belong together.
    pub fn accept(&self) -> Result<TlsAcceptor, super::ProxyError> {
        Ok(self.acceptor()?.0)
    }

    /// Reads both.
    fn acceptor(&self) -> Result<(TlsAcceptor, Chain), TlsError> {
        let wrong = |file: &PathBuf, why: String| TlsError { file: file.clone(), why };
        let chain = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong(&self.cert, error.to_string()))?;
        if chain.is_empty() {
            return Err(wrong(&self.cert, "it holds no certificate".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| {
            let why = match error {
                pem::Error::NoItemsFound => "it holds no private key".to_owned(),
                error => error.to_string(),
            };
            wrong(&self.key, why)
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain.clone(), key))
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    wrong(&self.key, format!("it is not the private key of {}", self.cert.display()))
                }
                error => wrong(&self.cert, error.to_string()),
            })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok((TlsAcceptor::from(Arc::new(config)), chain))
    }
}
