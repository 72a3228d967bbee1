//! Which provider serves a model, and at what price.
//!
//! Owns the settings of providers and models as the gateway wants them: resolved, with secrets read.
//! **Architecture Invariant:** a route that exists has a provider and a price for billed endpoints;
//! an unpriced model has none.

use std::collections::{BTreeMap, BTreeSet};

use http::Uri;
use wflo_core::definition::nearest;
use wflo_core::money::NanoUsd;

use crate::dialect::limit::OutputLimit;
use crate::dialect::{Dialect, Endpoint, google, query, target};
use crate::error::GatewayError;
use crate::price::{Kind, Known, ModelSettings, Price, is_openai, known, known_models, lookup};
use crate::routing::{Place, Routing, Waits};
use crate::secret::Secret;

mod passthrough;

pub use passthrough::{NoPath, Passthrough};

/// One upstream.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Its name: of `[providers.NAME]`, or of the dialect.
    pub name: String,
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
        Some("Write it like \"https://api.openai.com/v1\" or \"http://127.0.0.1:8080/v1\".".to_owned())
    }
}

/// Where a dialect's own provider is, and which variables name another address and the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standard {
    /// The variable of the address.
    pub address: &'static str,
    /// The variable of the key.
    pub key: &'static str,
    /// The public address.
    pub public: &'static str,
}

impl Standard {
    /// Those that the dialect's own clients read.
    pub const fn of(dialect: Dialect) -> Standard {
        let (address, key, public) = match dialect {
            Dialect::OpenAi => ("OPENAI_BASE_URL", "OPENAI_API_KEY", "https://api.openai.com/v1"),
            Dialect::Anthropic => ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "https://api.anthropic.com"),
            Dialect::Google => {
                ("GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY", "https://generativelanguage.googleapis.com")
            }
            Dialect::Cohere => ("CO_API_URL", "CO_API_KEY", "https://api.cohere.com"),
        };
        Standard { address, key, public }
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
        let Standard { address, key, public } = Standard::of(dialect);
        let base_url = variable(address).filter(|url| !url.trim().is_empty());
        let api_key = variable(key).and_then(|key| Secret::new(&key));
        let missing_key = (base_url.is_none() && api_key.is_none()).then(|| key.to_owned());
        let known = Provider::new(dialect.name(), dialect, base_url.as_deref().unwrap_or(public), api_key)?;
        Ok(Provider { missing_key, ..known })
    }

    /// Whether calls can be sent to it.
    ///
    /// # Errors
    /// [`GatewayError::NoKey`] when it needs a key, by its settings or at a public address, and there is
    /// none.
    pub fn usable(&self) -> Result<(), GatewayError> {
        match self.missing_key.as_ref().filter(|_| self.api_key.is_none()) {
            Some(variable) => {
                Err(GatewayError::NoKey { provider: self.name.clone(), variable: variable.clone() })
            }
            None => Ok(()),
        }
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

    fn host(&self) -> &str {
        self.base_url.host().unwrap_or_default()
    }
}

/// The providers and the operator's prices.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// Those of `wflo.toml` first, in its order, then those of the environment.
    providers: Vec<Provider>,
    /// How many are of `wflo.toml`.
    named: usize,
    models: BTreeMap<String, ModelSettings>,
    routing: Routing,
}

/// Where one call goes.
#[derive(Debug, Clone)]
pub struct Route<'a> {
    /// To whom.
    pub provider: &'a Provider,
    /// At what price; `None` only for endpoints that are not billed.
    pub price: Option<Price>,
}

impl Routes {
    /// Providers of the settings, those of the environment that no setting replaces (a setting of
    /// the same name does), and `[models]`.
    ///
    /// # Errors
    /// [`GatewayError`] when a price does not parse, or a model names a provider that is not there:
    /// at start, not at the first call.
    pub fn new(
        named: Vec<Provider>,
        environment: Vec<Provider>,
        models: BTreeMap<String, ModelSettings>,
    ) -> Result<Routes, GatewayError> {
        let mut providers = named;
        let named = providers.len();
        for provider in environment {
            if !providers.iter().any(|other| other.name == provider.name) {
                providers.push(provider);
            }
        }
        let routes = Routes { providers, named, models, routing: Routing::default() };
        for (model, settings) in &routes.models {
            let provider = settings.provider.as_deref().unwrap_or_default();
            settings.price(provider, model)?;
            if settings.provider.is_some() && !routes.providers.iter().any(|other| other.name == provider) {
                return Err(GatewayError::NoProvider {
                    reason: format!(
                        "models.\"{model}\" names the provider `{provider}`, which is not configured"
                    ),
                });
            }
        }
        Ok(routes)
    }

    /// These routes with what the operator says of the way of calls.
    ///
    /// # Errors
    /// [`GatewayError::Routing`] when it names what cannot be called, or mixes dialects: at start, not at
    /// the first failure.
    pub fn with_routing(self, routing: Routing) -> Result<Routes, GatewayError> {
        routing.check(&self)?;
        Ok(Routes { routing, ..self })
    }

    /// The provider and price for a call at a place.
    ///
    /// # Errors
    /// As [`Routes::find`].
    pub fn locate(
        &self,
        dialect: Option<Dialect>,
        endpoint: Option<Endpoint>,
        place: &Place,
    ) -> Result<Route<'_>, GatewayError> {
        match &place.provider {
            None => self.find(dialect, endpoint, &place.model),
            Some(name) => self.named(dialect, endpoint, name, &place.model),
        }
    }

    /// What the operator says of the way of calls.
    pub fn routing(&self) -> &Routing {
        &self.routing
    }

    /// The providers, in the order in which they are tried.
    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }

    /// `text` without any provider's key, by exact value.
    #[must_use]
    pub fn redact(&self, text: String) -> String {
        let keys = self.providers.iter().filter_map(|provider| provider.api_key.as_ref());
        keys.fold(text, |text, key| key.redact(text))
    }

    /// The provider and price that a call of this name begins with: an alias is its model's, a spread model
    /// its first target's.
    ///
    /// # Errors
    /// As [`Routes::find`].
    pub fn entry(&self, dialect: Option<Dialect>, model: &str) -> Result<Route<'_>, GatewayError> {
        let own = Place { provider: None, model: model.to_owned() };
        let place = self.routing.aliases.get(model).unwrap_or(&own);
        let spread = self.routing.routes.get(&place.model).filter(|_| place.provider.is_none());
        let place = spread.and_then(|spread| spread.targets.first()).map_or(place, |share| &share.place);
        self.locate(dialect, None, place)
    }

    /// The provider and price for a call.
    ///
    /// An entry of `[models]` that names its provider decides; else, of the providers of the
    /// dialect (any dialect when `None`), the first that has a price for the model.
    ///
    /// # Errors
    /// [`GatewayError::Unpriced`] when the endpoint is billed and nobody prices the model;
    /// [`GatewayError::NoProvider`] when no provider fits. Whether it has its key is another question:
    /// [`Provider::usable`].
    pub fn find(
        &self,
        dialect: Option<Dialect>,
        endpoint: Option<Endpoint>,
        model: &str,
    ) -> Result<Route<'_>, GatewayError> {
        let settings = self.models.get(model);
        if let Some(name) = settings.and_then(|settings| settings.provider.as_deref()) {
            return self.named(dialect, endpoint, name, model);
        }
        let mut fitting = self
            .providers
            .iter()
            .filter(|provider| dialect.is_none_or(|dialect| dialect == provider.dialect));
        if let Some(priced) = fitting.clone().find(|provider| self.price(provider, model).is_some()) {
            return self.priced(priced, endpoint, model);
        }
        match fitting.next() {
            Some(first) => self.priced(first, endpoint, model),
            None => Err(GatewayError::NoProvider {
                reason: match dialect {
                    Some(dialect) => format!("no provider of the {} dialect is configured", dialect.name()),
                    None => "no provider is configured".to_owned(),
                },
            }),
        }
    }

    /// Every model that a client of the dialect can call, with its provider: the operator's own, then those
    /// that the price map knows at the dialect's providers and that an endpoint here serves.
    pub fn served(&self, dialect: Dialect) -> Vec<(String, String)> {
        let names = self.models.keys().chain(self.routing.aliases.keys()).chain(self.routing.routes.keys());
        let names: BTreeSet<&String> = names.collect();
        let own = names.iter().filter_map(|model| {
            let route = self.entry(Some(dialect), model).ok()?;
            Some(((*model).clone(), route.provider.name.clone()))
        });
        let fitting = self.providers.iter().filter(|provider| provider.dialect == dialect);
        let known = fitting.flat_map(|provider| {
            let served =
                |known: &Known| matches!(known.price.kind, Kind::Chat | Kind::Embedding | Kind::Rerank);
            let here = known().filter(move |known| known.provider == provider.name && served(known));
            here.map(|Known { name: model, provider: at, .. }| {
                let model = model.strip_prefix(at).and_then(|rest| rest.strip_prefix('/')).unwrap_or(model);
                (model.to_owned(), at.to_owned())
            })
        });
        let known = known.filter(|(model, _)| !names.contains(model));
        own.chain(known).collect()
    }

    /// The provider of the dialect that lets a path through, and the most that a call of it costs.
    pub(crate) fn passthrough(&self, dialect: Dialect, suffix: &str) -> Option<(&Provider, NanoUsd)> {
        let fitting = self.providers.iter().filter(|provider| provider.dialect == dialect);
        fitting
            .flat_map(|provider| provider.passthrough.iter().map(move |passthrough| (provider, passthrough)))
            .find(|(_, passthrough)| passthrough.is(suffix))
            .map(|(provider, passthrough)| (provider, passthrough.most()))
    }

    /// Where each provider is, by name: what a run is sealed with.
    pub fn addresses(&self) -> BTreeMap<String, String> {
        self.providers.iter().map(|provider| (provider.name.clone(), provider.address())).collect()
    }

    /// Whether `wflo.toml` names this provider, or only the environment does.
    pub fn is_named(&self, name: &str) -> bool {
        self.providers.iter().take(self.named).any(|provider| provider.name == name)
    }

    fn named(
        &self,
        dialect: Option<Dialect>,
        endpoint: Option<Endpoint>,
        name: &str,
        model: &str,
    ) -> Result<Route<'_>, GatewayError> {
        let provider = self.providers.iter().find(|provider| provider.name == name);
        let provider = provider.ok_or_else(|| GatewayError::NoProvider {
            reason: format!("models.\"{model}\" names the provider `{name}`, which is not configured"),
        })?;
        if dialect.is_some_and(|dialect| dialect != provider.dialect) {
            return Err(GatewayError::NoProvider {
                reason: format!(
                    "the model `{model}` is served by the provider `{name}`, which speaks the {} dialect; use a client of that dialect",
                    provider.dialect.name()
                ),
            });
        }
        self.priced(provider, endpoint, model)
    }

    fn priced<'a>(
        &self,
        provider: &'a Provider,
        endpoint: Option<Endpoint>,
        model: &str,
    ) -> Result<Route<'a>, GatewayError> {
        let price = self.price(provider, model);
        if price.is_none() && endpoint.is_none_or(Endpoint::is_billed) {
            let named = self.is_named(&provider.name);
            let provider = provider.name.clone();
            let near = self.near(&provider, model);
            return Err(GatewayError::Unpriced { model: model.to_owned(), provider, named, near });
        }
        Ok(Route { provider, price })
    }

    /// The priced model that a name was most likely meant to be.
    fn near(&self, provider: &str, model: &str) -> Option<String> {
        let known = known_models()
            .filter(|(at, _)| *at == provider)
            .map(|(at, name)| name.strip_prefix(at).and_then(|rest| rest.strip_prefix('/')).unwrap_or(name));
        let known = self.models.keys().map(String::as_str).chain(known);
        // Names of models look alike, so only a slip of a letter or two counts.
        let like = |name: &&str| {
            name.len().abs_diff(model.len()) <= 2 && name.as_bytes().first() == model.as_bytes().first()
        };
        let near = nearest(model, known.filter(like))?;
        let price = |provider: &Provider| self.price(provider, near).is_some();
        self.providers.iter().any(price).then(|| near.to_owned())
    }

    pub(crate) fn price(&self, provider: &Provider, model: &str) -> Option<Price> {
        let settings = self.models.get(model);
        // Checked by `new`, so an error here is a price that is not there.
        let own = settings.and_then(|settings| settings.price(&provider.name, model).ok().flatten());
        own.or_else(|| lookup(&provider.name, model))
            .map(|price| price.at_host(provider.host(), provider.output_limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Provider {
        Provider::new("local", Dialect::OpenAi, "http://127.0.0.1:1/v1/", None).unwrap()
    }

    fn routes(models: &[(&str, ModelSettings)]) -> Routes {
        let keys = |name: &str| name.ends_with("_API_KEY").then(|| "sk-1".to_owned());
        let environment = [Dialect::OpenAi, Dialect::Anthropic]
            .into_iter()
            .map(|dialect| Provider::from_environment(dialect, keys).unwrap())
            .collect();
        let models = models.iter().map(|(name, settings)| ((*name).to_owned(), settings.clone())).collect();
        Routes::new(vec![local()], environment, models).unwrap()
    }

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
    fn a_model_goes_to_whoever_prices_it() {
        let own = ModelSettings {
            provider: Some("local".into()),
            input: Some("0.1".into()),
            output: Some("0.4".into()),
            ..ModelSettings::default()
        };
        let routes = routes(&[("smol", own)]);
        let find = |model| {
            routes.find(Some(Dialect::OpenAi), Some(Endpoint::Chat), model).unwrap().provider.name.clone()
        };
        assert_eq!(find("smol"), "local");
        assert_eq!(find("gpt-5-mini"), "openai");
        assert_eq!(routes.find(None, None, "claude-sonnet-4-5").unwrap().provider.name, "anthropic");
        let told = routes.find(None, None, "unheard-of").unwrap_err().full_message();
        assert!(!told.contains("provider = \"openai\""), "a guess is no advice: {told}");
        assert!(matches!(
            routes.find(Some(Dialect::Anthropic), None, "smol"),
            Err(GatewayError::NoProvider { .. })
        ));
        assert!(matches!(routes.find(None, None, "unheard-of"), Err(GatewayError::Unpriced { .. })));
    }

    #[test]
    fn nothing_is_sent_to_a_public_address_without_a_key() {
        let with = |variables: &[(&str, &str)]| {
            let known = |name: &str| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            };
            let provider = Provider::from_environment(Dialect::OpenAi, known).unwrap();
            Routes::new(Vec::new(), vec![provider], BTreeMap::new()).unwrap()
        };
        let refused = |routes: &Routes| {
            let route = routes.find(Some(Dialect::OpenAi), Some(Endpoint::Chat), "gpt-5-mini").unwrap();
            route.provider.usable().err()
        };
        let missing = GatewayError::NoKey { provider: "openai".into(), variable: "OPENAI_API_KEY".into() };
        assert_eq!(refused(&with(&[])), Some(missing.clone()));
        assert_eq!(refused(&with(&[("OPENAI_API_KEY", " ")])), Some(missing));
        assert_eq!(refused(&with(&[("OPENAI_API_KEY", "sk-1")])), None);
        assert_eq!(refused(&with(&[("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")])), None, "a local server");
    }

    #[test]
    fn addresses_join_to_what_providers_serve() {
        let anthropic = Provider::new("a", Dialect::Anthropic, "https://api.anthropic.com", None).unwrap();
        let uri = |provider: &Provider, suffix, query| provider.endpoint(suffix, query).unwrap().to_string();
        assert_eq!(
            uri(&anthropic, "/messages", Some("beta=true")),
            "https://api.anthropic.com/v1/messages?beta=true"
        );
        assert_eq!(uri(&local(), "/chat/completions", None), "http://127.0.0.1:1/v1/chat/completions");
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
