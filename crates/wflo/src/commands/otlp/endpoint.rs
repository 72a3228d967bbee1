//! Where traces go: the variables of OpenTelemetry's exporter specification.
//!
//! `OTEL_EXPORTER_OTLP_TRACES_…` wins over `OTEL_EXPORTER_OTLP_…`. Header values are secrets.
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>

use std::time::Duration;

use wflo_gateway::secret::Secret;

use crate::settings::Environment;

/// A collector, and who says that it is speaking to it.
pub(super) struct Endpoint {
    /// With the path of the signal.
    pub(super) address: String,
    pub(super) headers: Vec<(String, Secret)>,
    /// For the whole export.
    pub(super) timeout: Duration,
    /// `service.name` and whatever else `OTEL_RESOURCE_ATTRIBUTES` names.
    pub(super) resource: Vec<(String, String)>,
}

impl Endpoint {
    /// The collector that the environment names, if it names one.
    ///
    /// # Errors
    /// In words, what cannot be used.
    pub(super) fn of(environment: &Environment) -> Result<Option<Endpoint>, String> {
        let off =
            environment.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
                || environment.get("OTEL_TRACES_EXPORTER") == Some("none");
        let own = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(str::to_owned);
        let base = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT");
        let under = |base: &str| format!("{}/v1/traces", base.trim_end_matches('/'));
        let Some(address) = own.or_else(|| base.map(under)).filter(|_| !off) else { return Ok(None) };
        let either = |name: &str| {
            let of_traces = environment.get(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"));
            of_traces.or_else(|| environment.get(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        if either("PROTOCOL") == Some("grpc") {
            return Err("OTEL_EXPORTER_OTLP_PROTOCOL is grpc, and wflo speaks OTLP over HTTP \
                        (collectors listen for it on port 4318)"
                .to_owned());
        }
        let mut headers = Vec::new();
        for (name, value) in pairs(either("HEADERS").unwrap_or_default()) {
            let value = Secret::new(&value).ok_or(format!("the header {name} has no value"))?;
            headers.push((name, value));
        }
        let timeout = either("TIMEOUT").and_then(|millis| millis.trim().parse().ok()).unwrap_or(10_000);
        let mut resource = pairs(environment.get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default());
        if let Some(name) = environment.get("OTEL_SERVICE_NAME") {
            resource.retain(|(key, _)| key != "service.name");
            resource.push(("service.name".to_owned(), name.to_owned()));
        } else if !resource.iter().any(|(key, _)| key == "service.name") {
            resource.push(("service.name".to_owned(), "wflo".to_owned()));
        }
        Ok(Some(Endpoint { address, headers, timeout: Duration::from_millis(timeout), resource }))
    }

    /// Host and port: what stands beside them in an address may be a secret.
    pub(super) fn host(&self) -> &str {
        let rest = self.address.split_once("://").map_or(self.address.as_str(), |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        authority.rsplit_once('@').map_or(authority, |(_, host)| host)
    }
}

/// `key=value,key2=value2`, percent-encoded as in W3C Baggage.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |text: &str| {
        let (key, value) = text.split_once('=')?;
        let key = decoded(key.trim());
        (!key.is_empty()).then(|| (key, decoded(value.trim())))
    };
    text.split(',').filter_map(pair).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Endpoint>, String> {
        Endpoint::of(&Environment::of(variables))
    }

    #[test]
    fn the_signals_own_variables_win_and_the_base_gets_its_path() {
        assert!(of(&[]).unwrap().is_none());
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        assert_eq!(of(&[base]).unwrap().unwrap().address, "http://c:4318/v1/traces");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t.example/in");
        assert_eq!(of(&[base, own]).unwrap().unwrap().address, "https://t.example/in");
        assert!(of(&[base, ("OTEL_SDK_DISABLED", "true")]).unwrap().is_none());
        assert!(of(&[base, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).is_err());
    }

    #[test]
    fn headers_are_decoded_and_never_shown() {
        let endpoint = of(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://u:hidden@c:4318?k=hidden"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc, x-team = a%2Cb ,broken"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
        ]);
        let endpoint = endpoint.unwrap().unwrap();
        let headers: Vec<_> = endpoint.headers.iter().map(|(k, v)| (k.as_str(), v.expose())).collect();
        assert_eq!(headers, [("authorization", "Bearer abc"), ("x-team", "a,b")]);
        assert!(!format!("{:?}", endpoint.headers).contains("abc"));
        assert_eq!(endpoint.host(), "c:4318");
        assert_eq!(endpoint.timeout, Duration::from_millis(250));
    }

    #[test]
    fn the_service_has_a_name() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c");
        let name = |variables: &[(&str, &str)]| {
            let resource = of(variables).unwrap().unwrap().resource;
            resource.into_iter().filter(|(key, _)| key == "service.name").map(|(_, v)| v).collect::<Vec<_>>()
        };
        assert_eq!(name(&[base]), ["wflo"]);
        let other = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,team=a");
        assert_eq!(name(&[base, other]), ["other"]);
        assert_eq!(name(&[base, other, ("OTEL_SERVICE_NAME", "mine")]), ["mine"]);
    }
}
