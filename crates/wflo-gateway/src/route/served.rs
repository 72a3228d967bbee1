//! Which models clients are told of.

use std::collections::BTreeSet;

use super::Routes;
use crate::dialect::Dialect;
use crate::price::{Kind, Known, known};

impl Routes {
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
            let here = known().filter(move |known| known.provider == provider.priced_as() && served(known));
            here.map(|Known { name: model, provider: at, .. }| {
                let model = model.strip_prefix(at).and_then(|rest| rest.strip_prefix('/')).unwrap_or(model);
                (model.to_owned(), provider.name.clone())
            })
        });
        let known = known.filter(|(model, _)| !names.contains(model));
        own.chain(known).collect()
    }

    /// Whether some provider serves models of this name, or of a name that begins so where a `*` ends it.
    pub fn knows(&self, pattern: &str) -> bool {
        match pattern.strip_suffix('*') {
            None => self.entry(None, pattern).is_ok(),
            Some(beginning) => Dialect::ALL
                .iter()
                .any(|dialect| self.served(*dialect).iter().any(|(model, _)| model.starts_with(beginning))),
        }
    }
}
