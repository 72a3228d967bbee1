//! The model providers: is there one, is its key there, does it answer.

use std::time::Duration;

use crate::probe::{self, Answer};
use wflo_gateway::routing::Waits;

use crate::settings::{Dialect, Environment, KeySource, Provider, Settings};

use super::{Check, Outcome};
use wflo_gateway::route::Standard;

const LIMIT: Duration = Duration::from_secs(3);

/// One check for each provider of `wflo.toml` and of the environment.
pub(super) fn check(settings: &Settings, environment: &Environment) -> Vec<Check> {
    let named = settings.providers.iter().cloned();
    let found = Dialect::ALL.into_iter().filter_map(|dialect| {
        let named = settings.providers.iter().any(|(_, provider)| provider.dialect == dialect);
        let provider = from_environment(dialect, environment)?;
        (!named).then(|| (format!("{} (environment)", dialect.name()), provider))
    });
    let providers: Vec<(String, Provider)> = named.chain(found).collect();
    if providers.is_empty() {
        return vec![
            Check::new(
                "models",
                Outcome::Note,
                "no provider: steps without model calls run, others are refused",
            )
            .fix("export OPENAI_API_KEY or ANTHROPIC_API_KEY, or add [providers.NAME] to wflo.toml"),
        ];
    }
    providers.iter().map(|(name, provider)| one(name, provider, environment)).collect()
}

/// What the user's environment says about a provider that `wflo.toml` does not name.
fn from_environment(dialect: Dialect, environment: &Environment) -> Option<Provider> {
    let standard = Standard::of(dialect);
    let (key, _) = standard.key(|name| environment.get(name).map(str::to_owned))?;
    Some(Provider {
        dialect,
        prices: None,
        base_url: environment.get(standard.address).map(str::to_owned),
        key: Some(KeySource::Variable(key.to_owned())),
        output_limit: None,
        waits: Waits::default(),
        passthrough: Vec::new(),
    })
}

fn one(name: &str, provider: &Provider, environment: &Environment) -> Check {
    let title = format!("provider {name}");
    let key = match provider.key.as_ref().map(|source| source.fetch(name, environment)).transpose() {
        Ok(key) => key,
        Err(error) => {
            let check = Check::new(title, Outcome::Missing, error.to_string());
            return match wflo_core::error::Coded::hint(&error) {
                Some(hint) => check.fix(hint),
                None => check,
            };
        }
    };
    let address = provider.base_url.as_deref().unwrap_or(Standard::of(provider.dialect).public);
    let versioned = address.rsplit('/').next().is_some_and(|last| last.starts_with('v'));
    let path = match provider.dialect {
        Dialect::Google if !versioned => "/v1beta/models",
        Dialect::Cohere if !versioned => "/v1/models",
        _ => "/models",
    };
    let answer = probe::ask(address, path, key.as_ref().map(|key| key.expose()), LIMIT);
    match answer {
        Ok(Answer::Http { status: 200..=299, .. }) => {
            Check::new(title, Outcome::Ok, format!("{address} answers"))
        }
        Ok(Answer::Http { status: 401 | 403, .. }) => {
            Check::new(title, Outcome::Missing, format!("{address} refuses the key"))
                .fix("check the key that api_key_env, api_key_file or api_key_command gives")
        }
        Ok(Answer::Http { status, .. }) => {
            Check::new(title, Outcome::Note, format!("{address} answers /models with status {status}"))
        }
        Ok(Answer::Connected) => {
            Check::new(title, Outcome::Ok, format!("{address} can be reached (the key was not tried)"))
        }
        Err(reason) => Check::new(title, Outcome::Missing, format!("{address} does not answer: {reason}"))
            .fix("start the server, or correct base_url in wflo.toml"),
    }
}
