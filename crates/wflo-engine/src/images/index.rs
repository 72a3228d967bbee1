//! Where packages are fetched from.
//!
//! An address holds no password: that would be in a file of the project. It may name the variable of a secret
//! (`https://user:${TOKEN}@host/simple`), whose value the build never sees: its sandbox holds a placeholder, and
//! the proxy puts the value in, towards the secret's own host.

use std::net::IpAddr;

use wflo_egress::rules::Rule;

use super::error::ImageError;

/// The public index.
pub const DEFAULT_INDEX: &str = "https://pypi.org/simple";
/// Where the public index keeps its files.
const DEFAULT_FILES: &str = "https://files.pythonhosted.org";

/// Addresses of indexes, and the hosts of their files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The first is the main one.
    urls: Vec<Url>,
    /// Rules.
    hosts: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Url {
    written: String,
    /// `https://host:port`: a rule.
    host: String,
    /// The variable whose value is the password.
    variable: Option<String>,
}

impl Index {
    /// Reads addresses, the main one first, and further hosts that files are fetched from.
    ///
    /// # Errors
    /// An address that is none, is not encrypted on its way to another machine, or holds a password.
    pub fn read(main: Option<&str>, further: &[String], hosts: &[String]) -> Result<Index, ImageError> {
        let all = std::iter::once(main.unwrap_or(DEFAULT_INDEX)).chain(further.iter().map(String::as_str));
        let urls = all.map(Url::read).collect::<Result<Vec<_>, _>>()?;
        let mut hosts = hosts.to_vec();
        if urls.iter().any(|url| url.host == "https://pypi.org") {
            hosts.push(DEFAULT_FILES.to_owned());
        }
        Ok(Index { urls, hosts })
    }

    /// What a build may reach, as rules.
    #[must_use]
    pub fn rules(&self) -> Vec<String> {
        let mut rules: Vec<String> = self.urls.iter().map(|url| url.host.clone()).collect();
        rules.extend(self.hosts.iter().cloned());
        rules.sort();
        rules.dedup();
        rules
    }

    /// As they are written, without any value.
    pub(super) fn written(&self) -> Vec<&str> {
        self.urls.iter().map(|url| url.written.as_str()).collect()
    }

    /// The variables that stand in them.
    pub(super) fn variables(&self) -> Vec<&str> {
        self.urls.iter().filter_map(|url| url.variable.as_deref()).collect()
    }

    /// With what stands for each variable in its place.
    pub(super) fn filled(&self, value: impl Fn(&str) -> Option<String>) -> Vec<String> {
        let fill = |url: &Url| match &url.variable {
            None => url.written.clone(),
            Some(name) => {
                let value = value(name).unwrap_or_default();
                url.written.replacen(&format!("${{{name}}}"), &value, 1)
            }
        };
        self.urls.iter().map(fill).collect()
    }
}

impl Url {
    fn read(text: &str) -> Result<Url, ImageError> {
        let shown = shown(text);
        let wrong = |why, hint| ImageError::Index { address: shown.clone(), why, hint };
        let example = "write it as https://host/simple";
        let bad = |c: char| c.is_whitespace() || c.is_control() || !c.is_ascii();
        if text.contains(bad) || text.contains(['?', '#', '\\', '"', '\'']) {
            return Err(wrong("it has characters that an address of an index has not", example));
        }
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| wrong("it does not begin with https://", example))?;
        let authority = rest.split('/').next().unwrap_or_default();
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let variable = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
            None => None,
            Some((name, password)) => {
                let word = if password.is_empty() { name } else { password };
                let variable = word.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let named = variable.filter(|name| !name.is_empty() && name.chars().all(is_name));
                let plain = password.is_empty() || !name.contains(['$', '{', '}']);
                let Some(named) = named.filter(|_| plain) else {
                    return Err(wrong(
                        "a password does not belong into a file",
                        "make it a secret of the host ([secrets.NAME] with env = \"TOKEN\"), and write \
                         https://user:${TOKEN}@host/simple",
                    ));
                };
                Some(named.to_owned())
            }
        };
        match scheme {
            "https" => {}
            "http" if is_here(host) => {}
            "http" => {
                return Err(wrong(
                    "what is fetched without TLS may be anybody's",
                    "use its https:// address",
                ));
            }
            _ => return Err(wrong("it does not begin with https://", example)),
        }
        let rule = format!("{scheme}://{host}");
        if host.is_empty() || host.contains('*') || rule.parse::<Rule>().is_err() {
            return Err(wrong("its host cannot be read", example));
        }
        Ok(Url { written: text.to_owned(), host: rule, variable })
    }
}

/// An address of this machine's own loopback.
fn is_here(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Without what stands before its host, which may be secret.
fn shown(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    let Some((scheme, rest)) = plain.split_once("://") else { return plain };
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}/{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(main: &str) -> Result<Index, String> {
        Index::read(Some(main), &[], &[]).map_err(|error| error.to_string())
    }

    #[test]
    fn an_index_is_reached_at_its_own_host_and_where_its_files_are() {
        let index = Index::read(None, &[], &["https://cdn.example.org".to_owned()]).unwrap();
        assert_eq!(
            index.rules(),
            ["https://cdn.example.org", "https://files.pythonhosted.org", "https://pypi.org"]
        );
        assert_eq!(read("http://127.0.0.2:8123/simple").unwrap().rules(), ["http://127.0.0.2:8123"]);
        assert_eq!(read("https://pkgs.example.org/a/simple/").unwrap().rules(), ["https://pkgs.example.org"]);
    }

    #[test]
    fn a_password_is_a_variable_of_a_secret_and_stands_in_no_message() {
        let index = read("https://me:${PKG_TOKEN}@pkgs.example.org/simple").unwrap();
        assert_eq!(index.variables(), ["PKG_TOKEN"]);
        assert_eq!(index.filled(|_| Some("wflo-x".into())), ["https://me:wflo-x@pkgs.example.org/simple"]);
        for text in ["https://me:hunter2hunter2@a.example/simple", "https://hunter2hunter2@a.example/simple"]
        {
            let said = read(text).unwrap_err();
            assert!(said.contains("password") && !said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for text in [
            "http://pkgs.example.org/simple",
            "http://127.0.0.1.evil.example/simple",
            "ftp://a.example/simple",
            "https:///simple",
            "https://*.example.org/simple",
            "file:///etc/passwd",
            "https://a.example/simple --trusted-host x",
            "https://a.example/?q",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
