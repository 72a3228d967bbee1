//! Whom this machine trusts to vouch for hosts.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use wflo_core::error::{Code, Coded};

/// Why nobody can be trusted, or no authority made.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// There are none.
    #[error("this system has no certificates of trusted authorities")]
    None,
    /// A further one cannot be read.
    #[error("{0} holds no certificate of an authority")]
    Further(String),
    /// No key can be made.
    #[error("no key can be made")]
    Key,
    /// No certificate can be made.
    #[error("no certificate can be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl Coded for RootsError {
    fn code(&self) -> Code {
        Code(5212)
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            RootsError::None => "install ca-certificates".to_owned(),
            RootsError::Further(_) => "ca_file names a PEM file with one or more certificates".to_owned(),
            _ => "look at what else the log says".to_owned(),
        })
    }
}

/// The roots of trust towards hosts.
#[derive(Debug)]
pub struct Roots {
    client: Arc<ClientConfig>,
    pem: String,
}

impl Roots {
    /// This machine's, and those of a PEM file (its name and content), such as a company's own.
    ///
    /// # Errors
    /// When there are none, or the file holds none.
    pub fn load(further: Option<(&str, &[u8])>) -> Result<Roots, RootsError> {
        let mut certificates = rustls_native_certs::load_native_certs().certs;
        if let Some((name, pem)) = further {
            let unreadable = || RootsError::Further(name.to_owned());
            let read: Vec<CertificateDer<'static>> =
                CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| unreadable())?;
            let mut alone = RootCertStore::empty();
            if read.is_empty() || alone.add_parsable_certificates(read.iter().cloned()).0 != read.len() {
                return Err(unreadable());
            }
            certificates.extend(read);
        }
        let mut store = RootCertStore::empty();
        if store.add_parsable_certificates(certificates.iter().cloned()).0 == 0 {
            return Err(RootsError::None);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Roots { client: Arc::new(client), pem: certificates.iter().map(pem).collect() })
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// These and one more, as a PEM file.
    pub(crate) fn bundle(&self, authority: &str) -> String {
        format!("{}{authority}", self.pem)
    }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = BASE64.encode(certificate);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let body: String = lines.map(|line| format!("{line}\n")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
}
