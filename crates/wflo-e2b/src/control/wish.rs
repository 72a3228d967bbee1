//! What a client wants of a new sandbox, or of a list of them.
//!
//! **Architecture Invariant:** what would make a sandbox less shut, or what a client relies on and this server
//! has not, is refused by name; nothing of it is ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{USUAL, idempotency};
use crate::body;
use crate::error::ApiError;
use crate::life::AtEnd;
use crate::live::Live;
use crate::sandboxes::{Once, Sandboxes, Wish};

/// What E2B calls the templates that everybody has. Here they are the same.
const TEMPLATES: [&str; 2] = ["base", "code-interpreter-v1"];
/// How much a client may store with a sandbox, and set in it, in bytes.
const NOTES: usize = 64 << 10;
/// The longest message about a sandbox, in bytes: both of these, each byte written as six, and the rest.
pub(super) const MESSAGE: usize = 1 << 20;
/// A page is no longer than this.
const PAGE: usize = 100;
/// All addresses, as rules of E2B name them.
const EVERYTHING: [&str; 2] = ["0.0.0.0/0", "ALL_TRAFFIC"];

/// The body of a request for a new one.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct New<'a> {
    #[serde(rename = "templateID")]
    template_id: Option<String>,
    timeout: Option<u64>,
    auto_pause: bool,
    auto_pause_memory: Option<bool>,
    auto_resume: Option<AutoResume>,
    metadata: BTreeMap<String, String>,
    env_vars: BTreeMap<String, String>,
    #[serde(rename = "allow_internet_access")]
    internet: Option<bool>,
    #[serde(borrow)]
    network: Option<Network<'a>>,
    // Whatever these are, nothing of them is taken apart: that would take many times their length.
    #[serde(borrow)]
    mcp: Option<&'a RawValue>,
    #[serde(borrow)]
    iam: Option<&'a RawValue>,
    #[serde(borrow)]
    volume_mounts: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AutoResume {
    enabled: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Network<'a> {
    allow_out: Option<Vec<String>>,
    deny_out: Option<Vec<String>>,
    #[serde(borrow)]
    rules: Option<&'a RawValue>,
    #[serde(borrow)]
    egress_proxy: Option<&'a RawValue>,
    /// Of a sandbox that runs.
    #[serde(rename = "allow_internet_access")]
    internet: Option<bool>,
}

/// The time that a client asks for.
pub(super) fn span(seconds: u64, sandboxes: &Sandboxes) -> Result<Duration, ApiError> {
    let longest = sandboxes.each.longest;
    let span = Duration::from_secs(seconds);
    if span > longest {
        let why =
            format!("the timeout {seconds} s is longer than the {} s of this server", longest.as_secs());
        return Err(ApiError::Unclear(why));
    }
    Ok(span)
}

/// Reads a request for a new sandbox.
pub(super) fn read(bytes: &[u8], sandboxes: &Sandboxes, headers: &HeaderMap) -> Result<Wish, ApiError> {
    let new: New<'_> = body::parsed(bytes)?;
    let not_here = |what: &str, why| Err(ApiError::NotHere { what: what.to_owned(), why });
    let template = new.template_id.clone().unwrap_or_else(|| "base".to_owned());
    if !TEMPLATES.contains(&template.as_str()) {
        return Err(ApiError::NoTemplate(template));
    }
    let asked = |value: Option<&RawValue>| value.is_some_and(|value| !is_empty(value));
    if asked(new.mcp) {
        return not_here("mcp", "no gateway of MCP servers is installed in its sandboxes");
    }
    if asked(new.iam) {
        return not_here("iam", "its sandboxes have no identity outside");
    }
    if asked(new.volume_mounts) {
        return not_here("volumeMounts", "it has no volumes");
    }
    if new.auto_pause && new.auto_pause_memory == Some(false) {
        return not_here("autoPauseMemory", "a sandbox that is paused stays in memory as it is");
    }
    let size = |map: &BTreeMap<String, String>| {
        map.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
    };
    if size(&new.metadata) > NOTES || size(&new.env_vars) > NOTES {
        return Err(ApiError::Unclear(format!("metadata and envVars may have {NOTES} bytes each")));
    }
    variables(new.env_vars.iter())?;
    let hosts = hosts(new.internet, new.network.as_ref(), &sandboxes.each.hosts)?;
    let usual = USUAL.min(sandboxes.each.longest);
    Ok(Wish {
        template,
        span: new.timeout.map_or(Ok(usual), |seconds| span(seconds, sandboxes))?,
        metadata: new.metadata,
        env: new.env_vars,
        at_end: if new.auto_pause { AtEnd::Pause } else { AtEnd::Kill },
        wakes: new.auto_resume.unwrap_or_default().enabled,
        hosts,
        once: idempotency(headers).map(|key| Once { key, request: blake3::hash(bytes) }),
    })
}

/// Whether it is null, or a list or an object without anything.
fn is_empty(value: &RawValue) -> bool {
    let text = value.get();
    let inner = text.strip_prefix(['[', '{']).and_then(|rest| rest.strip_suffix([']', '}']));
    text == "null" || inner.is_some_and(|inner| inner.trim().is_empty())
}

/// Names that can be set.
fn variables<'a>(all: impl Iterator<Item = (&'a String, &'a String)>) -> Result<(), ApiError> {
    for (name, value) in all {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(ApiError::Unclear(format!("the variable `{name}` cannot be set")));
        }
    }
    Ok(())
}

/// Reads what a sandbox that runs is to reach from now on.
pub(super) fn network(bytes: &[u8], allowed: &[String]) -> Result<Vec<String>, ApiError> {
    let network: Network<'_> = body::parsed(bytes)?;
    let internet = network.internet;
    hosts(internet, Some(&network), allowed)
}

/// The rules of a sandbox: the server's, or those of them that the client names.
fn hosts(
    internet: Option<bool>,
    network: Option<&Network<'_>>,
    allowed: &[String],
) -> Result<Vec<String>, ApiError> {
    let refused = |what: String, why| Err(ApiError::NotHere { what, why });
    if internet == Some(false) {
        return Ok(Vec::new());
    }
    let Some(network) = network else { return Ok(allowed.to_vec()) };
    let given = |value: Option<&RawValue>| value.is_some_and(|value| !is_empty(value));
    if given(network.rules) || given(network.egress_proxy) {
        return refused("network.rules".to_owned(), "requests are passed on as they are");
    }
    let everything = |rules: &[String]| rules.iter().any(|rule| EVERYTHING.contains(&rule.as_str()));
    let denied = network.deny_out.as_deref().unwrap_or_default();
    if denied.iter().any(|rule| !EVERYTHING.contains(&rule.as_str())) {
        return refused(
            "network.denyOut".to_owned(),
            "what no rule allows is refused already; name what it may reach",
        );
    }
    match network.allow_out.as_deref() {
        None | Some([]) if everything(denied) => Ok(Vec::new()),
        None | Some([]) => Ok(allowed.to_vec()),
        Some(wanted) => {
            let allowed: BTreeSet<&String> = allowed.iter().collect();
            match wanted.iter().find(|rule| !allowed.contains(rule)) {
                Some(rule) => refused(
                    format!("network.allowOut {rule}"),
                    "the server does not allow it: start it with --allow-host",
                ),
                None => Ok(wanted.to_vec()),
            }
        }
    }
}

/// Which sandboxes a list is to have.
#[derive(Debug)]
pub(super) struct Filter {
    metadata: Vec<(String, String)>,
    states: Vec<String>,
    template: Option<String>,
    started_after: Option<Timestamp>,
    pub(super) oldest_first: bool,
    pub(super) limit: usize,
    /// The last one of the page before.
    pub(super) after: Option<String>,
}

impl Filter {
    pub(super) fn read(query: &str) -> Result<Filter, ApiError> {
        let mut filter = Filter {
            metadata: Vec::new(),
            states: Vec::new(),
            template: None,
            started_after: None,
            oldest_first: false,
            limit: PAGE,
            after: None,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let unclear = || ApiError::Unclear(format!("`{name}` cannot be `{value}`"));
            match name.as_ref() {
                // A query in a query: its names and values are encoded once more.
                "metadata" => {
                    let once = form_urlencoded::parse(value.as_bytes());
                    filter.metadata = once.map(|(key, value)| (decoded(&key), decoded(&value))).collect();
                }
                "state" => filter.states.extend(value.split(',').map(str::to_owned)),
                "template" => filter.template = Some(value.into_owned()),
                "startedAfter" | "started_after" => {
                    filter.started_after = Some(value.parse().map_err(|_| unclear())?);
                }
                "order" => filter.oldest_first = value == "asc",
                "limit" => {
                    let limit: usize = value.parse().map_err(|_| unclear())?;
                    filter.limit = limit.clamp(1, PAGE);
                }
                "nextToken" | "next_token" => filter.after = Some(value.into_owned()),
                _ => {}
            }
        }
        Ok(filter)
    }

    pub(super) fn takes(&self, live: &Live) -> bool {
        let state = if live.is_paused() { "paused" } else { "running" };
        self.metadata.iter().all(|(key, value)| live.metadata.get(key) == Some(value))
            && (self.states.is_empty() || self.states.iter().any(|wanted| wanted == state))
            && self.template.as_ref().is_none_or(|template| *template == live.template)
            && self.started_after.is_none_or(|after| live.started >= after)
    }
}

/// The sandboxes that a query names, each once: what is asked of one costs it something.
pub(super) fn named(query: &str) -> BTreeSet<String> {
    let ids = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "sandbox_ids");
    let ids = ids.map(|(_, value)| value).unwrap_or_default();
    ids.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

/// One text, its escapes taken out; what separates texts in a query stands for itself.
fn decoded(text: &str) -> String {
    let whole = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(whole.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_hosts(network: &str, allowed: &[&str]) -> Result<Vec<String>, String> {
        let new: New<'_> = serde_json::from_str(network).unwrap();
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        hosts(new.internet, new.network.as_ref(), &allowed).map_err(|error| error.told())
    }

    #[test]
    fn a_client_can_have_less_of_the_network_and_never_more() {
        let allowed = ["pypi.org", "*.example.org"];
        assert_eq!(read_hosts("{}", &allowed).unwrap(), allowed);
        assert!(read_hosts(r#"{"allow_internet_access": false}"#, &allowed).unwrap().is_empty());
        assert!(read_hosts(r#"{"network": {"denyOut": ["0.0.0.0/0"]}}"#, &allowed).unwrap().is_empty());
        let one = r#"{"network": {"allowOut": ["pypi.org"], "denyOut": ["0.0.0.0/0"]}}"#;
        assert_eq!(read_hosts(one, &allowed).unwrap(), ["pypi.org"]);
        for refused in [
            r#"{"network": {"allowOut": ["evil.example.org"]}}"#,
            r#"{"network": {"allowOut": ["0.0.0.0/0"]}}"#,
            r#"{"network": {"denyOut": ["10.0.0.0/8"]}}"#,
            r#"{"network": {"rules": {"a": [1]}}}"#,
        ] {
            let said = read_hosts(refused, &allowed).unwrap_err();
            assert!(said.contains("WFLO-5294"), "{said}");
        }
    }

    #[test]
    fn what_is_asked_for_is_told_from_what_is_not() {
        let empty = |text: &str| is_empty(serde_json::from_str(text).unwrap());
        for nothing in ["null", "{}", "[]", "{ \n}", "[\t]"] {
            assert!(empty(nothing), "{nothing:?}");
        }
        for something in ["[[]]", "{\"a\":{}}", "0", "false", "\"\"", "[null]"] {
            assert!(!empty(something), "{something:?}");
        }
    }

    #[test]
    fn metadata_of_a_list_are_encoded_once_more() {
        let filter = Filter::read("metadata=a%2520b%3Dc%2526d&state=paused&limit=1000&order=asc").unwrap();
        assert_eq!(filter.metadata, [("a b".to_owned(), "c&d".to_owned())]);
        assert_eq!((filter.limit, filter.oldest_first), (PAGE, true));
        assert!(Filter::read("limit=x").is_err());
    }

    #[test]
    fn a_sandbox_that_is_named_often_is_asked_once() {
        let named = named(&format!("x=1&sandbox_ids=b,,{}a", "b,".repeat(1_500)));
        assert_eq!(named.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(super::named("").is_empty());
    }

    #[test]
    fn a_variable_has_a_name() {
        for name in ["", "a=b", "a\0"] {
            assert!(variables([(&name.to_owned(), &String::new())].into_iter()).is_err(), "{name:?}");
        }
    }
}
