//! What the operator says about the way of calls: again, elsewhere, later, or not at all.
//!
//! Owns the settings as the gateway wants them, checked. What is done with them belongs to the module
//! of each: `retry`, `health`, `exchange`. Without any of them a call is made once, at the one provider
//! that [`crate::route::Routes::find`] gives.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::GatewayError;
use crate::health::Breaker;
use crate::limits::Limit;
use crate::repeats::Repeats;
use crate::retry::Retry;
use crate::route::Routes;
use crate::upstream::Deadlines;

/// How calls find their way. The default sends each once, to one provider.
#[derive(Debug, Clone, Default)]
pub struct Routing {
    /// When a failed attempt is followed by another.
    pub retry: Retry,
    /// Names that stand for models.
    pub aliases: BTreeMap<String, Place>,
    /// Models that several providers serve.
    pub routes: BTreeMap<String, Spread>,
    /// What is done for a model beside its own provider.
    pub models: BTreeMap<String, Detour>,
    /// When a way that fails is left alone. Without it, that is done only where there is another way.
    pub breaker: Option<Breaker>,
    /// How many calls and tokens may go where.
    pub limits: Vec<Limit>,
    /// What is done about calls that go round in circles.
    pub repeats: Option<Repeats>,
}

/// A model, and the provider to ask for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// `None` asks whoever serves the model.
    pub provider: Option<String>,
    /// The model as it is asked for there.
    pub model: String,
}

impl Place {
    /// Reads `model` or `provider/model`; the part before a `/` counts as a provider only if there is one
    /// of that name, because names of models have slashes too.
    pub fn parse(text: &str, is_provider: impl Fn(&str) -> bool) -> Place {
        match text.split_once('/').filter(|(provider, model)| is_provider(provider) && !model.is_empty()) {
            Some((provider, model)) => Place { provider: Some(provider.to_owned()), model: model.to_owned() },
            None => Place { provider: None, model: text.to_owned() },
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.provider {
            Some(provider) => write!(f, "{provider}/{}", self.model),
            None => f.write_str(&self.model),
        }
    }
}

/// How the providers of one model share its calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    /// Which is asked first; the others follow when it fails.
    pub strategy: Strategy,
    /// The providers.
    pub targets: Vec<Share>,
}

/// Which provider of a model is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The first of the list.
    #[default]
    Priority,
    /// By chance, each as often as its weight says.
    Weighted,
    /// The one that lately was the quickest to its first byte.
    Latency,
    /// The one where this call can cost least.
    Cost,
}

/// One provider of a spread model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Who, and by which name the model is known there.
    pub place: Place,
    /// How often, beside the others' weights; at least 1.
    pub weight: u32,
}

/// What is done for a model beside its own provider.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Detour {
    /// Asked in this order when it cannot be.
    pub fallbacks: Vec<Place>,
    /// Asked when the request is too long for it.
    pub context_fallbacks: Vec<Place>,
    /// Cheaper ones, asked when a budget that says `downgrade` has no room for it.
    pub downgrade: Vec<Place>,
    /// How long its answers are waited for.
    pub waits: Waits,
}

/// How long to wait, where a provider or a model differs from the gateway's own [`Deadlines`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waits {
    /// From the request to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// Between two pieces of an answer.
    pub idle: Option<Duration>,
}

impl Waits {
    /// The deadlines with these in their place.
    pub(crate) fn over(self, deadlines: Deadlines) -> Deadlines {
        Deadlines {
            first_byte: self.first_byte.unwrap_or(deadlines.first_byte),
            idle: self.idle.unwrap_or(deadlines.idle),
            ..deadlines
        }
    }
}

impl Routing {
    /// Every place of these settings can be called, and is of the dialect of what it stands for.
    pub(crate) fn check(&self, routes: &Routes) -> Result<(), GatewayError> {
        let wrong = |(section, name): (&'static str, &String), reason: String| GatewayError::Routing {
            section,
            name: name.clone(),
            reason,
        };
        for (alias, place) in &self.aliases {
            if self.aliases.contains_key(&place.model) && place.provider.is_none() {
                return Err(wrong(("aliases", alias), format!("names {place}, another alias")));
            }
            self.callable(routes, place).map_err(|why| wrong(("aliases", alias), why))?;
        }
        for (model, spread) in &self.routes {
            let what = ("routes", model);
            let mut dialects = Vec::new();
            for share in &spread.targets {
                let found = routes.locate(None, None, &share.place);
                dialects.push(found.map_err(|error| wrong(what, error.to_string()))?.provider.dialect);
            }
            if dialects.windows(2).any(|pair| pair[0] != pair[1]) {
                return Err(wrong(what, "has targets of more than one dialect".to_owned()));
            }
        }
        for (model, detour) in &self.models {
            let place = Place { provider: None, model: model.clone() };
            let own = self.callable(routes, &place).ok();
            let alone = !self.routes.contains_key(model);
            let served = routes.locate(None, None, &place).ok().filter(|_| alone);
            let served = served.map(|route| route.provider.name.as_str());
            let chains = [&detour.fallbacks, &detour.context_fallbacks, &detour.downgrade];
            for place in chains.into_iter().flatten() {
                let what = ("models", model);
                if place.model == *model && place.provider.as_deref().is_none_or(|name| served == Some(name))
                {
                    return Err(wrong(what, "names itself".to_owned()));
                }
                let dialect = self.callable(routes, place).map_err(|why| wrong(what, why))?;
                if own.is_some_and(|own| own != dialect) {
                    let why = format!("names {place}, which speaks the {} dialect", dialect.name());
                    return Err(wrong(what, why));
                }
            }
        }
        Ok(())
    }

    /// What can be done, and is hardly meant: a downgrade that costs more whatever is asked.
    pub fn doubts(&self, routes: &Routes) -> Vec<String> {
        let price = |place: &Place| routes.locate(None, None, place).ok()?.price;
        let mut doubts = Vec::new();
        for (model, detour) in &self.models {
            let own = price(&Place { provider: None, model: model.clone() });
            for place in &detour.downgrade {
                if let (Some(own), Some(other)) = (&own, price(place))
                    && other.is_dearer(own)
                {
                    doubts.push(format!(
                        "models.{model:?}: downgrade names {place}, which costs more than {model}: it is passed over"
                    ));
                }
            }
        }
        doubts
    }

    /// The models that a name stands for, when it is an alias or a model that several providers serve.
    pub(crate) fn meant(&self, name: &str) -> Vec<String> {
        let alias = self.aliases.get(name);
        let named = alias.map_or(name, |place| place.model.as_str());
        let spread = self.routes.get(named).filter(|_| alias.is_none_or(|place| place.provider.is_none()));
        let targets = spread.into_iter().flat_map(|spread| &spread.targets);
        let targets = targets.map(|share| share.place.model.clone());
        alias.map(|place| place.model.clone()).into_iter().chain(targets).collect()
    }

    /// The dialect of whoever serves the place, or why nobody does.
    fn callable(&self, routes: &Routes, place: &Place) -> Result<crate::dialect::Dialect, String> {
        let spread = self.routes.get(&place.model).filter(|_| place.provider.is_none());
        let place = spread.and_then(|spread| spread.targets.first()).map_or(place, |share| &share.place);
        match routes.locate(None, None, place) {
            Ok(route) => Ok(route.provider.dialect),
            Err(error) => Err(format!("names {place}: {error}")),
        }
    }
}
