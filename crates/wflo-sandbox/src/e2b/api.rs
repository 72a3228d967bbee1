//! The cloud's control plane: sandboxes are made, found, given time, and ended.

use super::cloud::{Cloud, Key};
use super::error::Error;
use super::http::{Answer, Http, hidden, request, whole};
use crate::remote::hushed::Hushed;
use form_urlencoded::Serializer;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a sandbox lives after its engine was last heard of.
pub(super) const LIFE: Duration = Duration::from_secs(120);
/// How long making one may take.
const MAKE: Duration = Duration::from_secs(120);
/// How long any other request may take.
const ASK: Duration = Duration::from_secs(30);
/// How often a call is made that may be made again.
const TRIES: u32 = 4;
/// How long the first pause between two of them is; each is twice as long, and up to half as long again.
const PAUSE: Duration = Duration::from_millis(500);

/// The metadata that say whose a sandbox is.
pub(super) const STORE: &str = "wflo-store";
pub(super) const ENGINE: &str = "wflo-engine";
pub(super) const STEP: &str = "wflo-step";

/// What is asked of a cloud.
#[derive(Debug, Clone)]
pub(super) struct Api {
    pub(super) cloud: Cloud,
    key: Key,
    pub(super) http: Http,
}

/// A sandbox that was made.
#[derive(Debug)]
pub(super) struct Created {
    pub(super) id: String,
    /// What opens it.
    pub(super) token: Option<String>,
}

#[derive(Deserialize)]
struct Told {
    #[serde(rename = "sandboxID")]
    id: String,
    #[serde(rename = "envdAccessToken", default)]
    token: Option<String>,
    #[serde(default)]
    domain: Option<String>,
}

/// One of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    #[serde(rename = "sandboxID")]
    pub(super) id: String,
    #[serde(default)]
    pub(super) metadata: Option<BTreeMap<String, String>>,
}

impl Api {
    pub(super) fn new(cloud: &Cloud, key: Key) -> Result<Api, Error> {
        let tls = |address: &str| address.starts_with("https:");
        let with_tls = tls(&cloud.api) || cloud.sandboxes.as_deref().is_none_or(tls);
        let http = Http::new(with_tls, Hushed::default().and(key.expose()))?;
        Ok(Api { cloud: cloud.clone(), key, http })
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        limit: Duration,
    ) -> Result<Answer, Error> {
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let mut request = request(method, &format!("{}{path}", self.cloud.api), whole(body))?;
        request.headers_mut().insert("x-api-key", hidden(self.key.expose())?);
        let answer = self.http.ask(request, limit).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Error::Key { address: self.cloud.api.clone(), status: answer.status.as_u16() })
            }
            _ => Ok(answer),
        }
    }

    /// A call that may be made twice: one that the cloud has no time for now is made again, a few times.
    async fn ask_again(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        limit: Duration,
    ) -> Result<Answer, Error> {
        let end = Instant::now() + limit;
        let mut tries = 1;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let answer = self.ask(method.clone(), path, body.clone(), left).await?;
            let busy =
                matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            let pause = answer.again.unwrap_or(Duration::ZERO).max(pause(tries, drawn()));
            if !busy || tries == TRIES || pause >= end.saturating_duration_since(Instant::now()) {
                return Ok(answer);
            }
            tokio::time::sleep(pause).await;
            tries += 1;
        }
    }

    fn refused(&self, what: &'static str, answer: &Answer) -> Error {
        Error::Refused { what, status: answer.status.as_u16(), said: self.http.said(&answer.body) }
    }

    /// Makes a sandbox that nothing leaves and nobody pauses.
    pub(super) async fn create(&self, metadata: BTreeMap<&str, String>) -> Result<Created, Error> {
        let wish = json!({
            "templateID": self.cloud.template,
            "timeout": LIFE.as_secs(),
            "autoPause": false,
            "secure": true,
            "allow_internet_access": false,
            "metadata": metadata,
        });
        let answer = self.ask(Method::POST, "/sandboxes", Some(wish), MAKE).await?;
        let said = || self.http.said(&answer.body);
        match answer.status {
            status if status.is_success() => self.created(&answer.body),
            StatusCode::NOT_FOUND => {
                Err(Error::NoTemplate { template: self.cloud.template.clone(), said: said() })
            }
            StatusCode::TOO_MANY_REQUESTS => Err(Error::TooMany { said: said() }),
            _ if said().contains("template") => {
                Err(Error::NoTemplate { template: self.cloud.template.clone(), said: said() })
            }
            _ => Err(self.refused("make", &answer)),
        }
    }

    fn created(&self, body: &[u8]) -> Result<Created, Error> {
        let wrong = |what: &str| Error::Answer { what: what.to_owned() };
        let told: Told =
            serde_json::from_slice(body).map_err(|_| wrong("it does not say which sandbox was made"))?;
        let created = Created { id: told.id, token: told.token };
        if !is_id(&created.id) {
            return Err(wrong("the name of the sandbox is none"));
        }
        // Who answers does not decide where files and programs go.
        match told.domain.filter(|domain| !domain.is_empty() && *domain != self.cloud.domain) {
            Some(domain) if self.cloud.sandboxes.is_none() => {
                let domain = self.http.words(&domain);
                Err(wrong(&format!("its sandbox is at {domain}: name that as E2B_DOMAIN if you trust it")))
            }
            _ => Ok(created),
        }
    }

    /// Lets it live for another while.
    pub(super) async fn give_time(&self, id: &str) -> Result<(), Error> {
        let time = json!({ "timeout": LIFE.as_secs() });
        let path = format!("/sandboxes/{id}/timeout");
        let answer = self.ask_again(Method::POST, &path, Some(time), ASK).await?;
        if answer.status.is_success() { Ok(()) } else { Err(self.refused("keep", &answer)) }
    }

    /// Ends it. One that is gone is gone.
    pub(super) async fn end(&self, id: &str) -> Result<(), Error> {
        let answer = self.ask_again(Method::DELETE, &format!("/sandboxes/{id}"), None, ASK).await?;
        let gone = answer.status.is_success() || answer.status == StatusCode::NOT_FOUND;
        if gone { Ok(()) } else { Err(self.refused("end", &answer)) }
    }

    /// Some of those with a piece of metadata, `limit` at most, and where the next ones begin.
    pub(super) async fn page(
        &self,
        having: (&str, &str),
        limit: usize,
        at: Option<&str>,
    ) -> Result<(Vec<Listed>, Option<String>), Error> {
        // A query within a query.
        let metadata = Serializer::new(String::new()).append_pair(having.0, having.1).finish();
        let mut query = Serializer::new(String::new());
        query.append_pair("metadata", &metadata).append_pair("limit", &limit.to_string());
        if let Some(at) = at {
            query.append_pair("nextToken", at);
        }
        let path = format!("/v2/sandboxes?{}", query.finish());
        let answer = self.ask_again(Method::GET, &path, None, ASK).await?;
        if !answer.status.is_success() {
            return Err(self.refused("list", &answer));
        }
        let wrong = |_| Error::Answer { what: "the list of sandboxes is none".to_owned() };
        let page: Vec<Listed> = serde_json::from_slice(&answer.body).map_err(wrong)?;
        let page = page.into_iter().filter(|listed| is_id(&listed.id)).take(limit).collect();
        Ok((page, answer.next))
    }
}

/// How long to wait before the next try; `drawn` spreads those who were refused together.
fn pause(tries: u32, drawn: u8) -> Duration {
    let pause = PAUSE * 2_u32.saturating_pow(tries.saturating_sub(1)).min(64);
    pause + pause * u32::from(drawn) / 512
}

/// The last byte of a new identity, which is random.
fn drawn() -> u8 {
    uuid::Uuid::now_v7().as_bytes().last().copied().unwrap_or(0)
}

/// A name that can stand in a path and in the name of a host.
fn is_id(id: &str) -> bool {
    (1..=63).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::super::cloud::Place;
    use super::*;

    fn api(sandboxes: Option<&str>) -> Api {
        let place = Place { domain: None, api: Some("http://127.0.0.1:1"), sandboxes };
        let cloud = Cloud::new(None, place).unwrap();
        Api {
            http: Http::new(false, Hushed::default().and("e2b_secret")).unwrap(),
            cloud,
            key: Key::new("e2b_secret"),
        }
    }

    #[test]
    fn an_answer_leads_nowhere_else() {
        let made = |body: &str| api(None).created(body.as_bytes());
        assert_eq!(made(r#"{"sandboxID": "i1-x", "envdAccessToken": "t"}"#).unwrap().id, "i1-x");
        assert!(made(r#"{"sandboxID": "i1", "domain": "e2b.app"}"#).is_ok());
        for wrong in [
            r#"{"sandboxID": "i1", "domain": "evil.example.org"}"#,
            r#"{"sandboxID": "../../x"}"#,
            r#"{"sandboxID": "i1.evil.example.org/"}"#,
            r#"{"sandboxID": ""}"#,
            r#"{"sandboxID": 1}"#,
            "[]",
            "",
        ] {
            assert!(matches!(made(wrong), Err(Error::Answer { .. })), "{wrong}");
        }
    }

    #[test]
    fn pauses_grow_and_differ() {
        let millis = |tries, drawn| pause(tries, drawn).as_millis();
        assert_eq!((millis(1, 0), millis(2, 0), millis(3, 0)), (500, 1_000, 2_000));
        assert_eq!((millis(1, 128), millis(1, 255)), (625, 749));
        assert!(millis(u32::MAX, 255) < 60_000);
    }

    #[test]
    fn what_a_cloud_repeats_holds_no_key() {
        let said = api(None).http.said(br#"{"message": "no e2b_secret\n\u001b[2Jhere"}"#);
        assert_eq!(said, "no …  [2Jhere");
    }
}
