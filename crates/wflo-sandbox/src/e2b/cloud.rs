//! Which cloud: where it is, what its sandboxes are made of, and the key to it.
//!
//! **Architecture Invariant:** a key is shown to the one address that the operator names, over TLS or to this
//! machine; what the cloud answers leads to no other address.

use super::error::Error;
use http::Uri;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Where E2B itself is.
const DOMAIN: &str = "e2b.app";
/// What sandboxes are made of where nobody says.
pub const TEMPLATE: &str = "base";

/// A cloud, without the key to it: kept with a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cloud {
    /// What sandboxes are made of, by the cloud's name for it.
    pub template: String,
    /// Where its API is.
    pub api: String,
    /// Where its sandboxes are, if all of them have one address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandboxes: Option<String>,
    /// Below which name they have an address each, otherwise.
    pub domain: String,
}

/// Where a cloud is, as it is told by E2B's variables or the settings of the same meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place<'a> {
    /// `E2B_DOMAIN`.
    pub domain: Option<&'a str>,
    /// `E2B_API_URL`.
    pub api: Option<&'a str>,
    /// `E2B_SANDBOX_URL`.
    pub sandboxes: Option<&'a str>,
}

impl Cloud {
    /// The cloud at a place.
    ///
    /// # Errors
    /// [`Error::Address`] for what is none, or is not shut to others on the way.
    pub fn new(template: Option<&str>, place: Place<'_>) -> Result<Cloud, Error> {
        let domain = place.domain.unwrap_or(DOMAIN);
        if !is_host(domain) {
            return Err(Error::Address { given: domain.to_owned(), why: "it is no name of a host" });
        }
        let api = place.api.map_or_else(|| format!("https://api.{domain}"), str::to_owned);
        Ok(Cloud {
            template: template.unwrap_or(TEMPLATE).to_owned(),
            api: address(&api)?,
            sandboxes: place.sandboxes.map(address).transpose()?,
            domain: domain.to_owned(),
        })
    }

    /// Where one of its sandboxes is spoken to.
    pub(super) fn of_sandbox(&self, id: &str) -> String {
        let own = || format!("https://49983-{id}.{}", self.domain);
        self.sandboxes.clone().unwrap_or_else(own)
    }

    /// What a person is told of it, on one line.
    #[must_use]
    pub fn described(&self) -> String {
        format!(
            "steps run in sandboxes of the cloud at {} (template {}), which has their kernel and sees what they see",
            self.api, self.template
        )
    }
}

fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// A base address, without a slash at its end.
fn address(given: &str) -> Result<String, Error> {
    let wrong = |why| Error::Address { given: given.to_owned(), why };
    let uri: Uri = given.trim_end_matches('/').parse().map_err(|_| wrong("it is none"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong("it must begin with https://"));
    };
    if authority.as_str().contains('@') || uri.query().is_some() {
        return Err(wrong("it must be a host, a port and a path alone"));
    }
    let host = authority.host().trim_matches(['[', ']']);
    let here = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    match scheme {
        "https" => {}
        "http" if here => {}
        "http" => return Err(wrong("without TLS the key could be read on the way")),
        _ => return Err(wrong("it must begin with https://")),
    }
    Ok(uri.to_string().trim_end_matches('/').to_owned())
}

/// The key to a cloud. It does not print.
#[derive(Clone)]
pub struct Key(Arc<str>);

impl Key {
    /// This one.
    pub fn new(key: &str) -> Key {
        Key(key.into())
    }

    /// For the one header that shows it.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(domain: Option<&str>, api: Option<&str>, sandboxes: Option<&str>) -> Result<Cloud, Error> {
        Cloud::new(None, Place { domain, api, sandboxes })
    }

    #[test]
    fn a_cloud_is_where_its_variables_say() {
        let usual = of(None, None, None).unwrap();
        assert_eq!((usual.api.as_str(), usual.template.as_str()), ("https://api.e2b.app", "base"));
        assert_eq!(usual.of_sandbox("i1"), "https://49983-i1.e2b.app");
        let own = of(Some("cloud.example.org"), None, None).unwrap();
        assert_eq!(own.of_sandbox("i1"), "https://49983-i1.cloud.example.org");
        let here = "http://127.0.0.1:4001/";
        let here = of(None, Some(here), Some(here)).unwrap();
        assert_eq!(
            (here.api.as_str(), here.of_sandbox("i1").as_str()),
            ("http://127.0.0.1:4001", "http://127.0.0.1:4001")
        );
    }

    #[test]
    fn a_key_goes_nowhere_in_clear() {
        for wrong in [
            "http://api.example.org",
            "http://127.0.0.1.example.org",
            "http://localhost@evil.example.org",
            "https://key@evil.example.org",
            "ftp://api.example.org",
            "api.example.org",
            "https://api.example.org/?a=b",
            "",
        ] {
            assert!(of(None, Some(wrong), None).is_err(), "{wrong}");
            assert!(of(None, None, Some(wrong)).is_err(), "{wrong}");
        }
        for wrong in ["", "e2b.app/x", "e2b.app:80", "a..b", "user@e2b.app"] {
            assert!(of(Some(wrong), None, None).is_err(), "{wrong}");
        }
        assert!(!format!("{:?}", Key::new("e2b_secret")).contains("secret"));
    }
}
