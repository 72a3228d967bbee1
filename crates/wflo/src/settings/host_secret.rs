//! `[secrets.NAME]`: a secret of hosts, whose placeholder steps hold.

use std::collections::BTreeMap;
use std::path::Path;

use wflo_core::error::Failure;
use wflo_egress::rules::Rule;
use wflo_egress::secrets::{SHORTEST, Value};
use wflo_engine::hosts::{HostSecret as Known, HostSecrets, NOT_HAD};

use crate::document::{Field, Kind, Problem};

use super::{Environment, KeySource};

/// One secret.
#[derive(Debug, Clone)]
pub(crate) struct HostSecret {
    /// The variable in which steps find the placeholder.
    pub(crate) env: String,
    pub(crate) source: KeySource,
    /// Whom it belongs to.
    pub(crate) hosts: Vec<Rule>,
    /// The headers that it may stand in, in lower case.
    pub(crate) headers: Vec<String>,
    /// The parameters of a query that it may be the value of.
    pub(crate) query: Vec<String>,
}

impl HostSecret {
    pub(super) fn read(field: &Field<'_>, root: &Path) -> Result<Self, Problem> {
        let mut reader = field.table()?;
        let env = reader.required("env")?;
        let name = env.name()?;
        let is_name = |name: &str| {
            !name.starts_with(|c: char| c.is_ascii_digit())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if !is_name(name) {
            return Err(env.wrong("the name of a variable, such as GITHUB_TOKEN"));
        }
        let source = KeySource::read_as(&mut reader, root, ["value_env", "value_file", "value_command"])?;
        let Some(source) = source else {
            let problem = field.problem(Kind::Missing, "has no value");
            return Err(problem.hint("say where it is: value_env, value_file or value_command"));
        };
        let of = reader.required("hosts")?;
        let hosts = of.texts()?.iter().map(|host| read_host(&of, host)).collect::<Result<Vec<_>, _>>()?;
        if hosts.is_empty() {
            return Err(of.wrong("at least one host, such as [\"api.example.org\"]"));
        }
        let mut headers = vec!["authorization".to_owned()];
        if let Some(field) = reader.optional("headers") {
            headers = field.texts()?.iter().map(|name| name.to_ascii_lowercase()).collect();
        }
        let query = reader.optional("query").map(|field| field.texts()).transpose()?.unwrap_or_default();
        reader.finish()?;
        Ok(HostSecret { env: name.to_owned(), source, hosts, headers, query })
    }
}

/// One host, whole: what a wildcard means is somebody else's to decide.
fn read_host(field: &Field<'_>, text: &str) -> Result<Rule, Problem> {
    let rule = text.parse::<Rule>().ok().filter(|rule| rule.is_only_a_host() && !text.contains('*'));
    rule.ok_or_else(|| field.wrong("hosts, each with or without a port, such as [\"api.example.org\"]"))
}

/// The secrets of a project, as its settings name them now.
pub(crate) struct ProjectSecrets {
    pub(crate) secrets: BTreeMap<String, HostSecret>,
    pub(crate) environment: Environment,
}

impl HostSecrets for ProjectSecrets {
    fn fetch(&self, name: &str) -> Option<Result<Known, Failure>> {
        let secret = self.secrets.get(name)?;
        let not_had =
            |reason: String| Failure::new(NOT_HAD, format!("the secret `{name}` cannot be had: {reason}"));
        let value =
            secret.source.value(&self.environment).map_err(|why| not_had(why.reason).with_hint(why.hint));
        let known = value.and_then(|value| {
            let value = Value::new(value.expose()).ok_or_else(|| {
                not_had(format!("it has fewer than {SHORTEST} characters, or one that a header cannot hold"))
            })?;
            Ok(Known {
                value,
                hosts: secret.hosts.clone(),
                headers: secret.headers.clone(),
                query: secret.query.clone(),
            })
        });
        Some(known)
    }
}
