//! What a model costs at a provider.
//!
//! Owns whose word counts: the operator's own, then that of the price map under the name that the provider is
//! priced as.

use wflo_core::definition::nearest;

use super::{Provider, Route, Routes};
use crate::dialect::Endpoint;
use crate::error::GatewayError;
use crate::price::{Price, known_models, lookup};

impl Routes {
    /// The route to a provider for a call of this endpoint, which has a price where it is billed.
    pub(super) fn priced<'a>(
        &self,
        provider: &'a Provider,
        endpoint: Option<Endpoint>,
        model: &str,
    ) -> Result<Route<'a>, GatewayError> {
        let price = self.price(provider, model);
        if price.is_none() && endpoint.is_none_or(Endpoint::is_billed) {
            let named = self.is_named(&provider.name);
            let near = self.near(provider.priced_as(), model);
            let no_key = match provider.usable() {
                Err(GatewayError::NoKey { variable, .. }) => Some(variable),
                _ => None,
            };
            let (model, provider) = (model.to_owned(), provider.name.clone());
            return Err(GatewayError::Unpriced { model, provider, named, near, no_key });
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

    /// The price of a model at a provider, if anybody says one.
    pub(crate) fn price(&self, provider: &Provider, model: &str) -> Option<Price> {
        let settings = self.models.get(model);
        // Checked by `new`, so an error here is a price that is not there.
        let own = settings.and_then(|settings| settings.price(provider.priced_as(), model).ok().flatten());
        own.or_else(|| lookup(provider.priced_as(), model))
            .map(|price| price.at_host(provider.host(), provider.output_limit))
    }
}
