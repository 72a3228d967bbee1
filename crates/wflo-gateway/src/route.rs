//! Which provider serves a model, and at what price.
//!
//! Owns the choice; what a provider is, and how it is reached, is `provider`'s, what a model costs there
//! `priced`'s.
//! **Architecture Invariant:** a route that exists has a provider and a price for billed endpoints;
//! an unpriced model has none.

use std::collections::BTreeMap;

use wflo_core::money::NanoUsd;

use crate::dialect::{Dialect, Endpoint};
use crate::error::GatewayError;
use crate::price::{ModelSettings, Price, PriceError, has_provider, lookup};
use crate::routing::{Place, Routing};

mod passthrough;
mod priced;
mod provider;
mod served;
mod written;

pub use passthrough::{NoPath, Passthrough};
pub use provider::{Provider, ProviderError, Standard, Written};

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
    /// [`GatewayError`] when a price does not parse, a provider takes prices that there are not, or a model
    /// names a provider that is not there: at start, not at the first call.
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
        let priced_as = |provider: &'_ Provider| Some((provider.name.clone(), provider.prices.clone()?));
        let strange = providers.iter().filter_map(priced_as).find(|(_, prices)| !has_provider(prices));
        if let Some((provider, given)) = strange {
            return Err(PriceError::NotAProvider { provider, given }.into());
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
        let own = self.written(dialect, model);
        let place = self.routing.aliases.get(model).unwrap_or(&own);
        let spread = self.routing.routes.get(&place.model).filter(|_| place.provider.is_none());
        let place = spread.and_then(|spread| spread.targets.first()).map_or(place, |share| &share.place);
        self.locate(dialect, None, place)
    }

    /// The provider and price for a call.
    ///
    /// An entry of `[models]` that names its provider decides; else, of the providers of the
    /// dialect (any dialect when `None`), the first whose own price for the model is known, then the first
    /// that an entry of `[models]` prices it for: what an operator pays does not change who serves it.
    ///
    /// # Errors
    /// [`GatewayError::Unpriced`] when the endpoint is billed and nobody prices the model;
    /// [`GatewayError::OtherDialect`] when only a provider of another dialect does;
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
        let knows = |provider: &&Provider| lookup(provider.priced_as(), model).is_some();
        let prices = |provider: &&Provider| self.price(provider, model).is_some();
        let own = settings.and_then(|_| fitting.clone().find(knows));
        if let Some(priced) = own.or_else(|| fitting.clone().find(prices)) {
            return self.priced(priced, endpoint, model);
        }
        if let Some(asked) = dialect
            && let Some(other) = self.providers.iter().find(prices)
        {
            return Err(other_dialect(other, asked, model));
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

    /// Whether calls can be sent to a provider. Where only the environment names one that has no key, a
    /// provider of the settings may have been meant, whose name the price map does not know.
    ///
    /// # Errors
    /// As [`Provider::usable`].
    pub(crate) fn usable(&self, provider: &Provider) -> Result<(), GatewayError> {
        provider.usable().map_err(|error| match error {
            GatewayError::NoKey { provider: name, variable, .. } if !self.is_named(&name) => {
                let mut others = self.providers.iter().take(self.named);
                let meant = others
                    .find(|other| other.dialect == provider.dialect && !has_provider(other.priced_as()));
                let meant = meant.map(|other| other.name.clone());
                GatewayError::NoKey { provider: name, variable, meant }
            }
            other => other,
        })
    }

    /// Who says where a provider is.
    pub(crate) fn written_by(&self, provider: &Provider) -> Written {
        if self.is_named(&provider.name) { Written::Settings } else { provider.written_outside() }
    }

    /// The providers of `wflo.toml`.
    pub fn named_providers(&self) -> &[Provider] {
        self.providers.get(..self.named).unwrap_or_default()
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
        if let Some(asked) = dialect.filter(|dialect| *dialect != provider.dialect) {
            return Err(other_dialect(provider, asked, model));
        }
        self.priced(provider, endpoint, model)
    }
}

fn other_dialect(provider: &Provider, asked: Dialect, model: &str) -> GatewayError {
    let (model, name, speaks) = (model.to_owned(), provider.name.clone(), provider.dialect);
    GatewayError::OtherDialect { model, provider: name, speaks, asked }
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
            Err(GatewayError::OtherDialect { .. })
        ));
        assert!(matches!(routes.find(None, None, "unheard-of"), Err(GatewayError::Unpriced { .. })));
    }

    fn mini() -> BTreeMap<String, ModelSettings> {
        let price =
            ModelSettings { input: Some("9".into()), output: Some("9".into()), ..ModelSettings::default() };
        BTreeMap::from([("gpt-5-mini".to_owned(), price)])
    }

    #[test]
    fn what_an_operator_pays_changes_nothing_of_who_is_asked() {
        for names in [["openai", "backup"], ["backup", "openai"], ["zeta", "openai"]] {
            let providers = names
                .map(|name| Provider::new(name, Dialect::OpenAi, "http://127.0.0.1:1/v1", None).unwrap());
            let routes = Routes::new(providers.into(), Vec::new(), mini()).unwrap();
            let found = routes.find(Some(Dialect::OpenAi), Some(Endpoint::Chat), "gpt-5-mini").unwrap();
            let rate =
                found.price.unwrap().rate(crate::price::Dimension::Input, crate::price::Tier::Standard, 1);
            assert_eq!((found.provider.name.as_str(), rate), ("openai", 9_000_000_000));
        }
        // Where nobody is known to serve it, the first of the file does.
        let providers =
            ["zeta", "alpha"].map(|name| Provider::new(name, Dialect::OpenAi, "http://h/v1", None).unwrap());
        let routes = Routes::new(providers.into(), Vec::new(), mini()).unwrap();
        assert_eq!(routes.find(None, None, "gpt-5-mini").unwrap().provider.name, "zeta");
    }

    #[test]
    fn a_second_account_costs_what_the_first_does() {
        let provider = |name: &str, prices: Option<&str>| {
            let mut provider = Provider::new(name, Dialect::OpenAi, "http://h/v1", None).unwrap();
            provider.prices = prices.map(str::to_owned);
            provider
        };
        let routes = |prices| {
            Routes::new(
                vec![provider("openai", None), provider("second", prices)],
                Vec::new(),
                BTreeMap::new(),
            )
        };
        let second = Place { provider: Some("second".into()), model: "gpt-5-mini".into() };
        let found = |routes: Routes| routes.locate(None, None, &second).map(|route| route.price.is_some());
        assert!(matches!(found(routes(None).unwrap()), Err(GatewayError::Unpriced { .. })));
        assert_eq!(found(routes(Some("openai")).unwrap()), Ok(true));
        let strange = routes(Some("opnai")).unwrap_err();
        assert!(strange.full_message().contains("opnai"), "{strange}");
        // It is told in a list under its own name.
        let alone =
            Routes::new(vec![provider("second", Some("openai"))], Vec::new(), BTreeMap::new()).unwrap();
        assert!(alone.served(Dialect::OpenAi).contains(&("gpt-5-mini".to_owned(), "second".to_owned())));
    }

    #[test]
    fn a_model_of_another_dialect_is_said_to_be_one() {
        let keys = |name: &str| name.ends_with("_API_KEY").then(|| "sk-1".to_owned());
        let environment = Dialect::ALL.map(|dialect| Provider::from_environment(dialect, keys).unwrap());
        let routes = Routes::new(vec![local()], environment.into(), BTreeMap::new()).unwrap();
        let told = |dialect, model: &str| routes.find(Some(dialect), None, model).unwrap_err().full_message();
        let claude = told(Dialect::OpenAi, "claude-sonnet-4-5");
        assert!(claude.contains("does not translate") && claude.contains("/v1/messages"), "{claude}");
        let gpt = told(Dialect::Anthropic, "gpt-5-mini");
        assert!(gpt.contains("provider `openai`") && gpt.contains("/v1/chat/completions"), "{gpt}");
    }

    #[test]
    fn a_model_without_a_price_at_a_provider_without_a_key_is_told_of_the_key_first() {
        let provider = Provider::from_environment(Dialect::OpenAi, |_| None).unwrap();
        let routes = Routes::new(Vec::new(), vec![provider], BTreeMap::new()).unwrap();
        let told = routes.find(Some(Dialect::OpenAi), None, "tiny").unwrap_err().full_message();
        assert!(told.starts_with("there is no key for the provider `openai`"), "{told}");
        assert!(told.contains(". Export OPENAI_API_KEY, or name the provider"), "{told}");
        assert!(told.contains("[models.\"tiny\"]"), "{told}");
    }

    #[test]
    fn who_has_a_provider_of_their_own_and_no_key_is_told_both_ways() {
        let public = Provider::from_environment(Dialect::OpenAi, |_| None).unwrap();
        let routes = Routes::new(vec![local()], vec![public], BTreeMap::new()).unwrap();
        let route = routes.find(Some(Dialect::OpenAi), None, "gpt-5-mini").unwrap();
        let told = routes.usable(route.provider).unwrap_err().full_message();
        assert!(told.contains(". Export OPENAI_API_KEY. To let `local` answer instead, "), "{told}");
        assert!(told.contains("prices = \"openai\" under [providers.local]"), "{told}");
    }

    #[test]
    fn what_is_said_of_a_provider_out_of_reach_is_where_its_address_is_written() {
        let told = |routes: &Routes| {
            let provider = &routes.providers()[0];
            let written = routes.written_by(provider);
            let error = GatewayError::Unreachable {
                provider: provider.name.clone(),
                written,
                reason: "it is not there".into(),
            };
            error.full_message()
        };
        let outside = |address: Option<&str>| {
            let variable = |name: &str| (name == "OPENAI_BASE_URL").then(|| address.map(str::to_owned))?;
            let provider = Provider::from_environment(Dialect::OpenAi, variable).unwrap();
            Routes::new(Vec::new(), vec![provider], BTreeMap::new()).unwrap()
        };
        let public = told(&outside(None));
        assert!(
            public.contains("this machine reaches api.openai.com") && !public.contains("wflo.toml"),
            "{public}"
        );
        let of_variable = told(&outside(Some("http://127.0.0.1:1/v1")));
        assert!(
            of_variable.contains("Check OPENAI_BASE_URL") && !of_variable.contains("wflo.toml"),
            "{of_variable}"
        );
        let named = told(&Routes::new(vec![local()], Vec::new(), BTreeMap::new()).unwrap());
        assert!(named.contains("under [providers.local] in wflo.toml"), "{named}");
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
        let missing =
            GatewayError::NoKey { provider: "openai".into(), variable: "OPENAI_API_KEY".into(), meant: None };
        assert_eq!(refused(&with(&[])), Some(missing.clone()));
        assert_eq!(refused(&with(&[("OPENAI_API_KEY", " ")])), Some(missing));
        assert_eq!(refused(&with(&[("OPENAI_API_KEY", "sk-1")])), None);
        assert_eq!(refused(&with(&[("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")])), None, "a local server");
    }
}
