//! What connections to hosts are made with, in this process: whom it trusts to vouch for them, and their secrets.
//!
//! A run holds names and placeholders; values, and the hosts that they belong to, are what the settings of
//! the process say that drives it. So a run that somebody has brought along gets no value sent elsewhere.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use wflo_core::error::{Code, Coded as _, Failure};
use wflo_egress::inspect::roots::Roots;
use wflo_egress::rules::Rule;
use wflo_egress::secrets::{Secret, Value};

use crate::error::EngineError;
use crate::launch::Placeholder;

/// A secret cannot be had.
pub const NOT_HAD: Code = Code(5216);

/// A secret as the settings have it.
#[derive(Debug)]
pub struct HostSecret {
    /// Fetched now.
    pub value: Value,
    /// Whom it belongs to.
    pub hosts: Vec<Rule>,
    /// The headers that it may stand in.
    pub headers: Vec<String>,
    /// The parameters of a query that it may be the value of.
    pub query: Vec<String>,
}

/// The secrets of hosts that the settings name.
pub trait HostSecrets: Send + Sync + 'static {
    /// Fetches one; blocks. `None` where none has this name.
    ///
    /// # Errors
    /// Why its value cannot be had.
    fn fetch(&self, name: &str) -> Option<Result<HostSecret, Failure>>;
}

/// No secrets.
#[derive(Debug, Default)]
pub struct NoSecrets;

impl HostSecrets for NoSecrets {
    fn fetch(&self, _: &str) -> Option<Result<HostSecret, Failure>> {
        None
    }
}

/// Hosts that people keep out of every run, as rules; it may block.
type KeptOut = dyn Fn() -> Result<Vec<String>, Failure> + Send + Sync;

/// Texts, the longest first.
type Forms = BTreeSet<(std::cmp::Reverse<usize>, String)>;

/// What connections to hosts are made with.
pub struct Hosts {
    secrets: Arc<dyn HostSecrets>,
    /// A further authority to trust.
    ca_file: Option<PathBuf>,
    roots: OnceCell<Arc<Roots>>,
    /// Every way in which a value that was fetched here may be written, the longest first.
    values: Mutex<Arc<Forms>>,
    kept_out: Arc<KeptOut>,
}

impl Default for Hosts {
    fn default() -> Self {
        Hosts::new(Arc::new(NoSecrets), None)
    }
}

impl Hosts {
    /// With these secrets, and trusting the authorities in a PEM file beside this machine's.
    pub fn new(secrets: Arc<dyn HostSecrets>, ca_file: Option<PathBuf>) -> Self {
        Hosts {
            secrets,
            ca_file,
            roots: OnceCell::new(),
            values: Mutex::default(),
            kept_out: Arc::new(|| Ok(Vec::new())),
        }
    }

    /// And keeping out what `kept_out` names, asked anew for each attempt: of a run that was recorded before
    /// people said so, too.
    #[must_use]
    pub fn keeping_out(
        mut self,
        kept_out: impl Fn() -> Result<Vec<String>, Failure> + Send + Sync + 'static,
    ) -> Self {
        self.kept_out = Arc::new(kept_out);
        self
    }

    /// What people keep out of every run by now.
    pub(crate) async fn kept_out(&self) -> Result<Vec<String>, EngineError> {
        let kept_out = Arc::clone(&self.kept_out);
        let read = tokio::task::spawn_blocking(move || kept_out()).await;
        read.map_err(|e| EngineError::Unreadable(e.to_string()))?.map_err(EngineError::Failure)
    }

    /// Whether a further authority is trusted than this machine trusts.
    pub(crate) fn has_authority(&self) -> bool {
        self.ca_file.is_some()
    }

    /// Whom this process trusts to vouch for hosts; read when it is first needed.
    pub(crate) async fn roots(&self) -> Result<Arc<Roots>, EngineError> {
        let file = self.ca_file.clone();
        let load = || async {
            let loaded = tokio::task::spawn_blocking(move || {
                let Some(file) = file else {
                    return Roots::load(None).map_err(|e| EngineError::Failure(e.to_failure()));
                };
                let name = file.display().to_string();
                let pem = std::fs::read(&file).map_err(|e| {
                    let message = format!("ca_file {name} cannot be read: {e}");
                    EngineError::Failure(Failure::new(Code(5212), message))
                })?;
                Roots::load(Some((&name, &pem))).map_err(|e| EngineError::Failure(e.to_failure()))
            });
            let loaded = loaded.await.map_err(|e| EngineError::Unreadable(e.to_string()))?;
            loaded.map(Arc::new)
        };
        self.roots.get_or_try_init(load).await.cloned()
    }

    /// The values that a run's placeholders stand for.
    pub(crate) async fn secrets(&self, held: &[Placeholder]) -> Result<Vec<Secret>, EngineError> {
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let (source, held) = (Arc::clone(&self.secrets), held.to_vec());
        let fetched =
            tokio::task::spawn_blocking(move || held.iter().map(|one| fetch(&*source, one)).collect());
        let fetched: Result<Vec<Secret>, EngineError> =
            fetched.await.map_err(|e| EngineError::Unreadable(e.to_string()))?;
        let fetched = fetched?;
        let forms = fetched.iter().flat_map(|secret| secret.value.forms());
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut values).extend(forms.map(|form| (std::cmp::Reverse(form.len()), form)));
        drop(values);
        Ok(fetched)
    }

    /// Does something while nobody can see the values.
    #[cfg(test)]
    pub(crate) fn held_while(&self, work: impl FnOnce()) {
        let _values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        work();
    }

    /// `text` without any value that was fetched here, however it is written.
    pub(crate) fn redact(&self, mut text: String) -> String {
        // A long text takes a while, and nobody else should wait for it.
        let values = Arc::clone(&self.values.lock().unwrap_or_else(PoisonError::into_inner));
        for (_, form) in values.iter() {
            if text.contains(form.as_str()) {
                text = text.replace(form.as_str(), "[redacted]");
            }
        }
        text
    }
}

fn fetch(source: &dyn HostSecrets, held: &Placeholder) -> Result<Secret, EngineError> {
    let name = held.name.clone();
    let Some(found) = source.fetch(&name) else {
        let message =
            format!("the run holds a placeholder of the secret `{name}`, which the settings do not name");
        let hint = format!("put [secrets.{name}] back into wflo.toml, or retry the run without it");
        return Err(EngineError::Failure(Failure::new(NOT_HAD, message).with_hint(hint)));
    };
    let HostSecret { value, hosts, headers, query } = found.map_err(EngineError::Failure)?;
    Ok(Secret { name, placeholder: held.placeholder.clone(), value, hosts, headers, query })
}

/// The secret whose placeholder stands in the body of a model call: it belongs to hosts and not there.
pub(crate) fn misplaced(launch: &serde_json::Value, body: &[u8]) -> Option<String> {
    let held = launch.get("secrets")?.as_array()?;
    let stands_in = |one: &&serde_json::Value| {
        let word = one["placeholder"].as_str().unwrap_or_default().as_bytes();
        !word.is_empty() && memchr::memmem::find(body, word).is_some()
    };
    held.iter().find(stands_in).and_then(|one| one["name"].as_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = r#"tok/en-"of"-a-host-1"#;

    struct One;

    impl HostSecrets for One {
        fn fetch(&self, _: &str) -> Option<Result<HostSecret, Failure>> {
            let value = Value::new(VALUE)?;
            Some(Ok(HostSecret { value, hosts: Vec::new(), headers: Vec::new(), query: Vec::new() }))
        }
    }

    #[tokio::test]
    async fn a_value_that_was_fetched_is_taken_out_however_it_is_written() {
        let hosts = Hosts::new(Arc::new(One), None);
        let asked = serde_json::json!({"text": VALUE, "inner": serde_json::json!({"x": VALUE}).to_string()})
            .to_string();
        assert_eq!(hosts.redact(asked.clone()), asked, "nobody has fetched it");
        let held = Placeholder { name: "api".to_owned(), env: "X".to_owned(), placeholder: "p".to_owned() };
        hosts.secrets(&[held]).await.unwrap();
        let clean = |text: String| {
            let clean = hosts.redact(text);
            wflo_core::content::strings(&clean, |read| {
                let cleaned = hosts.redact(read.to_owned());
                (cleaned != read).then_some(cleaned)
            })
        };
        let cleaned = clean(asked);
        assert!(!cleaned.contains("of") && cleaned.matches("[redacted]").count() == 2, "{cleaned}");
        for form in [VALUE.to_owned(), "tok%2Fen-%22of%22-a-host-1".to_owned()] {
            assert_eq!(clean(format!("a {form} b")), "a [redacted] b");
        }
    }
}
