//! One upstream: where it is, what it speaks, and its key.
//!
//! Owns providers as the gateway wants them: resolved, with secrets read.

use http::Uri;

use super::Passthrough;
use crate::dialect::limit::OutputLimit;
use crate::dialect::{Dialect, google, query, target};
use crate::error::GatewayError;
use crate::price::is_openai;
use crate::routing::Waits;
use crate::secret::Secret;

/// One upstream.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Its name: of `[providers.NAME]`, or of the dialect.
    pub name: String,
    /// The provider of the price map whose prices count here; none: the one of its own name.
    pub prices: Option<String>,
    /// What it speaks.
    pub dialect: Dialect,
    /// Where it is. OpenAI-style addresses end in `/v1`; Anthropic's does not need to.
    pub base_url: Uri,
    /// How it is told where an answer ends.
    pub output_limit: OutputLimit,
    /// How long its answers are waited for, where that differs from the gateway's own deadlines.
    pub waits: Waits,
    /// Paths of it that are let through although the gateway does not know them.
    pub passthrough: Vec<Passthrough>,
    /// Its key; `None` sends none (a local server).
    pub api_key: Option<Secret>,
    /// The variable that must hold a key before anything is sent there; `None` when one is not needed
    /// or is there.
    missing_key: Option<String>,
}

/// A provider that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The address is no http(s) URL.
    #[error("providers.{name}.base_url is not an http or https address")]
    BadUrl {
        /// The provider.
        name: String,
    },
}

impl wflo_core::error::Coded for ProviderError {
    fn code(&self) -> wflo_core::error::Code {
        wflo_core::error::Code(4017)
    }

    fn hint(&self) -> Option<String> {
        Some("write it like \"https://api.openai.com/v1\" or \"http://127.0.0.1:8080/v1\".".to_owned())
    }
}

/// Who says where a provider is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// `wflo.toml`.
    Settings,
    /// This variable of the environment.
    Variable(&'static str),
    /// Nobody: it is at its public address, on this host.
    Nowhere(String),
}

/// Where a dialect's own provider is, and which variables name another address and the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standard {
    /// The variable of the address.
    pub address: &'static str,
    /// The variables of the key: the first that is set counts.
    pub keys: &'static [&'static str],
    /// The public address.
    pub public: &'static str,
}

impl Standard {
    /// Those that the dialect's own clients read.
    pub const fn of(dialect: Dialect) -> Standard {
        let (address, keys, public): (_, &[&str], _) = match dialect {
            Dialect::OpenAi => ("OPENAI_BASE_URL", &["OPENAI_API_KEY"], "https://api.openai.com/v1"),
            Dialect::Anthropic => ("ANTHROPIC_BASE_URL", &["ANTHROPIC_API_KEY"], "https://api.anthropic.com"),
            Dialect::Google => (
                "GOOGLE_GEMINI_BASE_URL",
                &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
                "https://generativelanguage.googleapis.com",
            ),
            Dialect::Cohere => ("CO_API_URL", &["CO_API_KEY", "COHERE_API_KEY"], "https://api.cohere.com"),
        };
        Standard { address, keys, public }
    }

    /// The variable of the key that is set, by what `variable` reads of one.
    pub fn key(&self, variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, Secret)> {
        self.keys.iter().find_map(|name| Some((*name, Secret::new(&variable(name)?)?)))
    }
}

impl Provider {
    /// A provider at an address.
    ///
    /// # Errors
    /// [`ProviderError::BadUrl`] when the address is not `http://…` or `https://…`, or holds
    /// credentials: those would show in errors.
    pub fn new(
        name: &str,
        dialect: Dialect,
        base_url: &str,
        api_key: Option<Secret>,
    ) -> Result<Provider, ProviderError> {
        let refuse = || ProviderError::BadUrl { name: name.to_owned() };
        let base_url: Uri = base_url.trim().trim_end_matches('/').parse().map_err(|_| refuse())?;
        let is_http = matches!(base_url.scheme_str(), Some("http" | "https"));
        let has_user = base_url.authority().is_none_or(|authority| authority.as_str().contains('@'));
        // What stands behind the colon of an authority is a port, and one that there is.
        let authority = base_url.authority().map_or("", |authority| authority.as_str());
        let port = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
        let bad_port = port.is_some_and(|(_, port)| port.parse::<u16>().map_or(true, |port| port == 0));
        let climbs = base_url.path().split('/').any(|part| matches!(part, "." | ".."));
        if !is_http || has_user || bad_port || climbs || base_url.query().is_some() {
            return Err(refuse());
        }
        let to_openai = dialect == Dialect::OpenAi && is_openai(base_url.host().unwrap_or_default());
        let output_limit = if to_openai { OutputLimit::MaxCompletionTokens } else { OutputLimit::MaxTokens };
        Ok(Provider {
            name: name.to_owned(),
            prices: None,
            dialect,
            base_url,
            output_limit,
            waits: Waits::default(),
            passthrough: Vec::new(),
            api_key,
            missing_key: None,
        })
    }

    /// The provider that the user's own environment names for a dialect, else its public address, to
    /// which nothing is sent without a key. `variable` reads one environment variable.
    ///
    /// # Errors
    /// [`ProviderError::BadUrl`] when the environment's address is none.
    pub fn from_environment(
        dialect: Dialect,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Provider, ProviderError> {
        let standard = Standard::of(dialect);
        let base_url = variable(standard.address).filter(|url| !url.trim().is_empty());
        let api_key = standard.key(variable).map(|(_, key)| key);
        let missing_key = (base_url.is_none() && api_key.is_none()).then(|| standard.keys[0].to_owned());
        let address = base_url.as_deref().unwrap_or(standard.public);
        let known = Provider::new(dialect.name(), dialect, address, api_key)?;
        Ok(Provider { missing_key, ..known })
    }

    /// Who says where it is, if `wflo.toml` does not.
    pub(crate) fn written_outside(&self) -> Written {
        let standard = Standard::of(self.dialect);
        match standard.public.parse::<Uri>().is_ok_and(|public| public == self.base_url) {
            true => Written::Nowhere(self.host().to_owned()),
            false => Written::Variable(standard.address),
        }
    }

    /// Whether calls can be sent to it.
    ///
    /// # Errors
    /// [`GatewayError::NoKey`] when it needs a key, by its settings or at a public address, and there is
    /// none.
    pub fn usable(&self) -> Result<(), GatewayError> {
        match self.missing_key.as_ref().filter(|_| self.api_key.is_none()) {
            Some(variable) => {
                let (provider, variable) = (self.name.clone(), variable.clone());
                Err(GatewayError::NoKey { provider, variable, meant: None })
            }
            None => Ok(()),
        }
    }

    /// The name by which the price map knows whose prices count here.
    pub(crate) fn priced_as(&self) -> &str {
        self.prices.as_deref().unwrap_or(&self.name)
    }

    /// The same provider, to which nothing is sent unless a key is found in this variable.
    #[must_use]
    pub fn needing_key(mut self, variable: &str) -> Provider {
        self.missing_key = Some(variable.to_owned());
        self
    }

    /// What it speaks and where it is: `openai http://127.0.0.1:8080/v1`. Holds no key.
    pub fn address(&self) -> String {
        let path = self.base_url.path().trim_end_matches('/');
        let (scheme, host) = (self.base_url.scheme_str(), self.base_url.authority());
        format!(
            "{} {}://{}{path}",
            self.dialect.name(),
            scheme.unwrap_or_default(),
            host.map_or_else(String::new, |host| host.as_str().to_ascii_lowercase())
        )
    }

    /// The address of an endpoint: `suffix` is a path such as `/messages`.
    pub(crate) fn endpoint(&self, suffix: &str, query: Option<&str>) -> Option<Uri> {
        let base = self.base_url.path().trim_end_matches('/');
        // An address that names a version means it, whichever the client chose.
        let (chosen, suffix) = match self.dialect {
            Dialect::OpenAi => ("", suffix),
            Dialect::Anthropic => ("/v1", suffix),
            Dialect::Google | Dialect::Cohere => target::version(suffix),
        };
        let version = match self.dialect {
            _ if base.rsplit('/').next().is_some_and(target::is_version) => "",
            Dialect::Google if chosen.is_empty() => "/v1beta",
            Dialect::Cohere if chosen.is_empty() => "/v2",
            _ => chosen,
        };
        let query = match self.dialect {
            Dialect::Google => query.and_then(|query| query::without(query, &google::CREDENTIALS)),
            _ => query.map(str::to_owned),
        };
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        Uri::builder()
            .scheme(self.base_url.scheme_str()?)
            .authority(self.base_url.authority()?.as_str())
            .path_and_query(format!("{base}{version}{suffix}{query}"))
            .build()
            .ok()
    }

    pub(super) fn host(&self) -> &str {
        self.base_url.host().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_called_is_refused() {
        let made = |url: &str| Provider::new("p", Dialect::OpenAi, url, None).is_ok();
        for good in ["http://[::1]:8000/v1", "http://[::1]/v1", "https://h", "http://h:65535/a.b/..c"] {
            assert!(made(good), "{good}");
        }
        for bad in
            ["http://h:99999/", "http://h:/v1", "http://h:0", "http://h/../v1", "http://h/v1/.", "ftp://h"]
        {
            assert!(!made(bad), "{bad}");
        }
    }

    #[test]
    fn each_variable_that_a_providers_clients_read_holds_its_key() {
        let found = |dialect, set: &[(&str, &str)]| {
            let variable =
                |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            let provider = Provider::from_environment(dialect, variable).unwrap();
            provider.api_key.map(|key| key.expose().to_owned())
        };
        for (dialect, name) in [
            (Dialect::OpenAi, "OPENAI_API_KEY"),
            (Dialect::Anthropic, "ANTHROPIC_API_KEY"),
            (Dialect::Google, "GEMINI_API_KEY"),
            (Dialect::Google, "GOOGLE_API_KEY"),
            (Dialect::Cohere, "CO_API_KEY"),
            (Dialect::Cohere, "COHERE_API_KEY"),
        ] {
            assert_eq!(found(dialect, &[(name, "k")]).as_deref(), Some("k"), "{name}");
            assert_eq!(found(dialect, &[(name, " ")]), None, "{name}");
        }
        let both = [("GOOGLE_API_KEY", "any of Google's"), ("GEMINI_API_KEY", "for this")];
        assert_eq!(found(Dialect::Google, &both).as_deref(), Some("for this"));
        let empty = [("CO_API_KEY", ""), ("COHERE_API_KEY", "k")];
        assert_eq!(found(Dialect::Cohere, &empty).as_deref(), Some("k"));
    }

    #[test]
    fn addresses_join_to_what_providers_serve() {
        let anthropic = Provider::new("a", Dialect::Anthropic, "https://api.anthropic.com", None).unwrap();
        let local = Provider::new("local", Dialect::OpenAi, "http://127.0.0.1:1/v1/", None).unwrap();
        let uri = |provider: &Provider, suffix, query| provider.endpoint(suffix, query).unwrap().to_string();
        assert_eq!(
            uri(&anthropic, "/messages", Some("beta=true")),
            "https://api.anthropic.com/v1/messages?beta=true"
        );
        assert_eq!(uri(&local, "/chat/completions", None), "http://127.0.0.1:1/v1/chat/completions");
        let google = |base| Provider::new("g", Dialect::Google, base, None).unwrap();
        let generate = "/v1/models/g:generateContent";
        assert_eq!(
            uri(&google("https://g.example"), generate, Some("key=AIza&alt=sse")),
            "https://g.example/v1/models/g:generateContent?alt=sse"
        );
        assert_eq!(
            uri(&google("https://g.example"), "/models/g:x", Some("key=AIza")),
            "https://g.example/v1beta/models/g:x"
        );
        assert_eq!(
            uri(&google("https://g.example/v1beta"), generate, None),
            "https://g.example/v1beta/models/g:generateContent"
        );
        let cohere = Provider::new("c", Dialect::Cohere, "https://api.cohere.com", None).unwrap();
        assert_eq!(uri(&cohere, "/v2/chat", None), "https://api.cohere.com/v2/chat");
        assert_eq!(uri(&cohere, "/chat", None), "https://api.cohere.com/v2/chat");
        let with = Provider::new("a", Dialect::Anthropic, "https://proxy/x/v1/", None).unwrap();
        assert_eq!(uri(&with, "/messages", None), "https://proxy/x/v1/messages");
    }

    #[test]
    fn an_address_with_credentials_is_refused() {
        for bad in ["https://user:pass@host/v1", "ftp://host", "host/v1", ""] {
            let error = Provider::new("p", Dialect::OpenAi, bad, None).unwrap_err();
            assert!(!error.to_string().contains("pass"));
        }
    }
}
