//! A model's name as a client may write it.
//!
//! Owns one rule: other gateways want `provider/model`, so a client that comes from one writes that.

use super::Routes;
use crate::dialect::Dialect;
use crate::routing::Place;

impl Routes {
    /// The place that a client's name of a model means, aliases aside: of `provider/model` that provider's
    /// model, where the provider is there and prices the model, and no other serves one of the whole name, as
    /// Groq serves `openai/gpt-oss-120b`.
    pub(crate) fn written(&self, dialect: Option<Dialect>, model: &str) -> Place {
        let split = model
            .split_once('/')
            .filter(|_| !self.models.contains_key(model) && !self.routing.routes.contains_key(model));
        let pinned = split.and_then(|(name, rest)| {
            let fits = |at: Dialect| dialect.is_none_or(|dialect| dialect == at);
            let mut providers = self.providers.iter();
            let provider = providers.find(|provider| provider.name == name && fits(provider.dialect))?;
            self.price(provider, rest)?;
            let whole = self.find(dialect, None, model).ok();
            whole.is_none_or(|route| route.provider.name == name).then(|| (name.to_owned(), rest.to_owned()))
        });
        match pinned {
            Some((provider, model)) => Place { provider: Some(provider), model },
            None => Place { provider: None, model: model.to_owned() },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::price::ModelSettings;
    use crate::route::Provider;

    #[test]
    fn a_provider_before_a_models_name_is_taken_off_where_it_is_the_providers_and_nowhere_else() {
        let provider =
            |name: &str, dialect| Provider::new(name, dialect, "http://127.0.0.1:1/v1", None).unwrap();
        let mut backup = provider("backup", Dialect::OpenAi);
        backup.prices = Some("openai".to_owned());
        let own = ModelSettings {
            input: Some("1".to_owned()),
            output: Some("1".to_owned()),
            ..ModelSettings::default()
        };
        let providers = vec![
            provider("openai", Dialect::OpenAi),
            backup,
            provider("groq", Dialect::OpenAi),
            provider("anthropic", Dialect::Anthropic),
        ];
        let models = BTreeMap::from([("openai/gpt-4o".to_owned(), own)]);
        let routes = Routes::new(providers, Vec::new(), models).unwrap();
        for (model, pinned) in [
            ("openai/gpt-5-mini", Some(("openai", "gpt-5-mini"))),
            ("backup/gpt-5-mini", Some(("backup", "gpt-5-mini"))),
            ("gpt-5-mini", None),
            ("openai/gpt-oss-120b", None),
            ("openai/gpt-4o", None),
            ("openai/unheard-of", None),
            ("anthropic/claude-sonnet-4-5", None),
            ("nobody/gpt-5-mini", None),
            ("/gpt-5-mini", None),
            ("openai/", None),
        ] {
            let found = routes.written(Some(Dialect::OpenAi), model);
            let (provider, name) = pinned.map_or((None, model), |(provider, name)| (Some(provider), name));
            assert_eq!((found.provider.as_deref(), found.model.as_str()), (provider, name), "{model}");
        }
    }
}
