//! The listener's certificate.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
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

impl TlsFiles {
    /// Reads both.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let wrong = |file: &PathBuf, why: String| TlsError { file: file.clone(), why };
        let chain = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong(&self.cert, error.to_string()))?;
        if chain.is_empty() {
            return Err(wrong(&self.cert, "it holds no certificate".to_owned()));
        }
        let key =
            PrivateKeyDer::from_pem_file(&self.key).map_err(|error| wrong(&self.key, error.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| wrong(&self.cert, error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
