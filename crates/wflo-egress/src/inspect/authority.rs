//! A certificate authority that exists for one sandbox, in memory.
//!
//! **Architecture Invariant:** its key is made here, never leaves, and ends with the sandbox; what it signs is for
//! hosts that this sandbox asked for.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;

use super::roots::RootsError;
use crate::host::Host;

/// So many hosts' certificates are kept.
const KEPT: usize = 256;

/// Signs certificates of hosts.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    own: CertificateDer<'static>,
    servers: Mutex<HashMap<Host, Arc<ServerConfig>>>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority(…)")
    }
}

impl Authority {
    pub(crate) fn new() -> Result<Authority, RootsError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(DnType::CommonName, "wflo, for one sandbox");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let own = params.self_signed(&key)?;
        Ok(Authority {
            pem: own.pem(),
            own: own.der().clone(),
            issuer: Issuer::new(params, key),
            servers: Mutex::default(),
        })
    }

    /// Its certificate, as a PEM file.
    pub(crate) fn certificate(&self) -> &str {
        &self.pem
    }

    /// How TLS is spoken in the name of `host`.
    pub(crate) fn server(&self, host: &Host) -> Result<Arc<ServerConfig>, RootsError> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = servers.get(host) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(self.made(host)?);
        if servers.len() >= KEPT {
            servers.clear();
        }
        servers.insert(host.clone(), Arc::clone(&made));
        Ok(made)
    }

    fn made(&self, host: &Host) -> Result<ServerConfig, RootsError> {
        let name = match host {
            Host::Name(name) => name.clone(),
            Host::Address(address) => address.to_string(),
        };
        let key = KeyPair::generate()?;
        // A common name is too short for some hosts; nobody looks at it.
        let mut params = CertificateParams::new(vec![name])?;
        params.distinguished_name.push(DnType::CommonName, "wflo");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| RootsError::Key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone(), self.own.clone()], key)?;
        // Whatever else a client offers, this is what is spoken.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}
