//! `[sandbox.e2b]`: which cloud, and where the key to it is.
//!
//! **Architecture Invariant:** the key of the user's own environment goes to the cloud that this environment
//! names, or to E2B itself; a file that names another cloud has to name a key for it too.

use std::path::Path;

use wflo_engine::clouds::Clouds;
use wflo_sandbox::e2b::{Cloud, Error, Key, Place};

use super::{Environment, KeySource};
use crate::document::{Field, Problem};

/// What E2B's own clients read.
const KEY: &str = "E2B_API_KEY";
const DOMAIN: &str = "E2B_DOMAIN";
const API: &str = "E2B_API_URL";
const SANDBOXES: &str = "E2B_SANDBOX_URL";

/// As the settings have it.
#[derive(Debug, Clone, Default)]
pub(crate) struct CloudSettings {
    template: Option<String>,
    domain: Option<String>,
    api: Option<String>,
    sandboxes: Option<String>,
    key: Option<KeySource>,
}

impl CloudSettings {
    /// The environment's cloud, with sandboxes of this template.
    pub(crate) fn of_template(template: Option<String>) -> Self {
        CloudSettings { template, ..CloudSettings::default() }
    }

    pub(super) fn read(field: &Field<'_>, root: &Path) -> Result<Self, Problem> {
        let mut reader = field.table()?;
        let mut name = |key| reader.optional(key).map(|field| field.name().map(str::to_owned)).transpose();
        let (template, domain) = (name("template")?, name("domain")?);
        let (api, sandboxes) = (name("api_url")?, name("sandbox_url")?);
        let key = KeySource::read(&mut reader, root)?;
        reader.finish()?;
        Ok(CloudSettings { template, domain, api, sandboxes, key })
    }

    /// The variable that the key is in, if it is in one.
    pub(super) fn variable(&self) -> &str {
        match &self.key {
            Some(KeySource::Variable(name)) => name,
            _ => KEY,
        }
    }

    /// Where the key to it is, if the file says that.
    pub(super) fn source(&self) -> Option<&KeySource> {
        self.key.as_ref()
    }

    fn names_a_place(&self) -> bool {
        self.domain.is_some() || self.api.is_some() || self.sandboxes.is_some()
    }

    /// Which cloud.
    ///
    /// # Errors
    /// What is wrong with its address.
    pub(crate) fn cloud(&self, environment: &Environment) -> Result<Cloud, Error> {
        let place = match self.names_a_place() {
            true => Place {
                domain: self.domain.as_deref(),
                api: self.api.as_deref(),
                sandboxes: self.sandboxes.as_deref(),
            },
            false => Place {
                domain: environment.get(DOMAIN),
                api: environment.get(API),
                sandboxes: environment.get(SANDBOXES),
            },
        };
        Cloud::new(self.template.as_deref(), place)
    }

    /// The key to it; blocks.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(crate) fn key(&self, environment: &Environment) -> Result<Key, Error> {
        let source = match &self.key {
            Some(source) => source.clone(),
            None if self.names_a_place() => {
                return Err(Error::NoKey {
                    reason: "[sandbox.e2b] names a cloud and no key for it".to_owned(),
                    hint: format!("add api_key_env = \"{KEY}\" there, or name the cloud by {API} instead"),
                });
            }
            None => KeySource::Variable(KEY.to_owned()),
        };
        let value = source.value(environment);
        let value = value.map_err(|why| Error::NoKey { reason: why.reason, hint: why.hint })?;
        Ok(Key::new(value.expose()))
    }
}

/// The cloud of a project, as its settings name it now.
pub(crate) struct ProjectCloud {
    pub(crate) settings: CloudSettings,
    pub(crate) environment: Environment,
}

impl Clouds for ProjectCloud {
    fn named(&self) -> Result<Cloud, Error> {
        self.settings.cloud(&self.environment)
    }

    fn key(&self, cloud: &Cloud) -> Result<Key, Error> {
        let own = self.named()?;
        if (&own.api, &own.sandboxes, &own.domain) != (&cloud.api, &cloud.sandboxes, &cloud.domain) {
            return Err(Error::NoKey {
                reason: format!(
                    "the run is in the cloud at {}, and the settings name {}",
                    cloud.api, own.api
                ),
                hint: format!(
                    "name that cloud again ({API}, {SANDBOXES}, {DOMAIN} or [sandbox.e2b]), or retry the run"
                ),
            });
        }
        self.settings.key(&self.environment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Environment {
        Environment::of(&[(KEY, "e2b_own"), (API, "http://127.0.0.1:1")])
    }

    #[test]
    fn the_users_key_goes_to_the_users_cloud_alone() {
        let usual = CloudSettings::default();
        assert_eq!(usual.cloud(&own()).unwrap().api, "http://127.0.0.1:1");
        assert!(usual.key(&own()).is_ok());
        let elsewhere =
            CloudSettings { api: Some("https://api.example.org".to_owned()), ..CloudSettings::default() };
        assert_eq!(elsewhere.cloud(&own()).unwrap().api, "https://api.example.org");
        assert!(matches!(elsewhere.key(&own()), Err(Error::NoKey { .. })));
        let named = CloudSettings { key: Some(KeySource::Variable(KEY.to_owned())), ..elsewhere };
        assert!(named.key(&own()).is_ok());
    }

    #[test]
    fn a_run_of_another_cloud_is_shown_no_key() {
        let clouds = ProjectCloud { settings: CloudSettings::default(), environment: own() };
        let run = clouds.named().unwrap();
        assert!(clouds.key(&Cloud { template: "other".to_owned(), ..run.clone() }).is_ok());
        let moved = Cloud { api: "https://evil.example.org".to_owned(), ..run };
        let error = clouds.key(&moved).unwrap_err().to_string();
        assert!(error.contains("evil.example.org") && !error.contains("e2b_own"), "{error}");
    }
}
