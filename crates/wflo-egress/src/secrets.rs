//! Secrets of hosts: a program holds a placeholder, and the host it belongs to gets the value.
//!
//! A placeholder is swapped in the places that its secret names, of a request whose TLS this proxy has ended and
//! begins anew with the secret's own host. Anywhere else it is refused, and whoever watches is told: a program
//! that sends it there either is mistaken or tries to get the value. What a host repeats of any value, in
//! the usual ways of writing it, is taken out of its answer.
//!
//! **Architecture Invariant:** a value leaves this process in one way only, [`Secrets::swap`], and nothing here
//! prints it.

mod forms;
mod redactor;
mod scanner;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::host::Target;
use crate::request::Forward;
use crate::rules::Rule;

pub(crate) use self::redactor::Redactor;
pub(crate) use self::scanner::Scanner;

/// What stands where a value stood.
pub(crate) const REDACTED: &str = "[redacted]";
/// A shorter value would be found in ordinary words.
pub const SHORTEST: usize = 8;

/// A secret text. It has no `Display`, and its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(String);

impl Value {
    /// A value that a header can hold and that is long enough to be told from ordinary words.
    pub fn new(value: &str) -> Option<Value> {
        let sound = value.len() >= SHORTEST && value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        (sound && value.trim() == value).then(|| Value(value.to_owned()))
    }
}

impl Value {
    /// Every usual way of writing it: as it is, and as addresses, JSON, HTML and basic authentication have it.
    pub fn forms(&self) -> Vec<String> {
        forms::all(&self.0)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value(…)")
    }
}

/// A secret of one or more hosts.
#[derive(Debug, Clone)]
pub struct Secret {
    /// What people call it.
    pub name: String,
    /// What the program holds. Nobody can guess it; it is worth nothing.
    pub placeholder: String,
    /// What its hosts get.
    pub value: Value,
    /// The hosts.
    pub hosts: Vec<Rule>,
    /// The headers that it may stand in, in lower case.
    pub headers: Vec<String>,
    /// The parameters of the query that it may be the value of.
    pub query: Vec<String>,
}

/// Where a placeholder was sent that it must not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the placeholder of the secret `{name}` was sent {place}")]
pub struct Misplaced {
    /// The secret.
    pub name: String,
    /// Where.
    pub place: Place,
}

/// A place in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Place {
    /// A host that it does not belong to.
    #[error("to a host that it does not belong to")]
    Host,
    /// A connection that is not encrypted.
    #[error("without encryption")]
    Plain,
    /// A header that it does not name.
    #[error("in a header that it may not stand in")]
    Header,
    /// The path, or a parameter that it does not name.
    #[error("in an address")]
    Address,
    /// The body.
    #[error("in a body")]
    Body,
}

/// The secrets of one sandbox.
#[derive(Debug, Default)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// These.
    pub fn new(secrets: Vec<Secret>) -> Secrets {
        Secrets(secrets)
    }

    /// Whether there are any.
    pub(crate) fn is_used(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether a secret belongs to `target`: what is sent there is looked at.
    pub(crate) fn belong_to(&self, target: &Target) -> bool {
        self.0.iter().any(|secret| secret.is_of(target))
    }

    /// Puts values where placeholders stand. The names of those that were.
    ///
    /// # Errors
    /// A placeholder in another place; nothing may be sent then.
    pub(crate) fn swap(&self, asked: &mut Forward, secure: bool) -> Result<Swapped, Misplaced> {
        let mut swapped = Swapped::default();
        for secret in &self.0 {
            secret.swap(asked, secure, &mut swapped)?;
        }
        // What one host is told another may repeat.
        let is_seen = secure && !self.0.is_empty();
        if is_seen || self.belong_to(&asked.target) {
            // A part of an answer could hold a part of a value, and a compressed one hides it.
            let is_kept = |name: &str| !matches!(name, "range" | "if-range" | "accept-encoding");
            asked.headers.retain(|(name, _)| is_kept(name));
            asked.headers.push(("accept-encoding".to_owned(), b"identity".to_vec()));
            let forms = self.0.iter().flat_map(|secret| forms::all(&secret.value.0));
            swapped.values.extend(forms.map(String::into_bytes));
        }
        Ok(swapped)
    }

    /// Looks for placeholders in what is sent as a body.
    pub(crate) fn scanner(&self) -> Scanner {
        Scanner::new(self.0.iter().map(|secret| (secret.name.clone(), secret.placeholder.clone())).collect())
    }

    /// The first secret whose placeholder stands in `text`, however escaped.
    pub fn found_in(&self, text: &[u8]) -> Option<&str> {
        let found = self.0.iter().find(|secret| secret.stands_in(text));
        found.map(|secret| secret.name.as_str())
    }

    /// A value in `text`, replaced: for what is shown of what others say.
    #[must_use]
    pub fn redact(&self, mut text: String) -> String {
        for secret in &self.0 {
            if text.contains(&secret.value.0) {
                text = text.replace(&secret.value.0, REDACTED);
            }
        }
        text
    }
}

/// What was put into a request.
#[derive(Debug, Default)]
pub(crate) struct Swapped {
    /// The secrets whose values it has.
    pub(crate) names: Vec<String>,
    /// What must not stand in the answer.
    pub(crate) values: Vec<Vec<u8>>,
}

impl Secret {
    fn is_of(&self, target: &Target) -> bool {
        self.hosts.iter().any(|rule| rule.lets_tls_to(target))
    }

    fn misplaced(&self, place: Place) -> Misplaced {
        Misplaced { name: self.name.clone(), place }
    }

    /// Where it would be swapped, or why it must not be.
    fn may_stand(
        &self,
        target: &Target,
        secure: bool,
        named: bool,
        otherwise: Place,
    ) -> Result<(), Misplaced> {
        match () {
            () if !self.is_of(target) => Err(self.misplaced(Place::Host)),
            () if !secure => Err(self.misplaced(Place::Plain)),
            () if !named => Err(self.misplaced(otherwise)),
            () => Ok(()),
        }
    }

    /// As it is, in another case, or escaped. A program that hides it better sends something that is worth
    /// nothing.
    fn stands_in(&self, text: &[u8]) -> bool {
        let plain = |text: &[u8]| {
            let lower = text.to_ascii_lowercase();
            holds(&lower, self.placeholder.as_bytes())
        };
        plain(text) || text.contains(&b'%') && plain(&unescaped(text))
    }

    fn swap(&self, asked: &mut Forward, secure: bool, swapped: &mut Swapped) -> Result<(), Misplaced> {
        let target = asked.target.clone();
        if self.stands_in(target.host.to_string().as_bytes()) {
            return Err(self.misplaced(Place::Address));
        }
        if self.stands_in(asked.path.as_bytes()) {
            return Err(self
                .may_stand(&target, secure, false, Place::Address)
                .err()
                .unwrap_or_else(|| self.misplaced(Place::Address)));
        }
        let mut is_in = false;
        for (name, value) in &mut asked.headers {
            if self.stands_in(name.as_bytes()) {
                return Err(self.misplaced(Place::Header));
            }
            let named = self.headers.contains(name);
            if self.stands_in(value) {
                self.may_stand(&target, secure, named, Place::Header)?;
                *value = replaced(value, self.placeholder.as_bytes(), self.value.0.as_bytes())
                    .ok_or_else(|| self.misplaced(Place::Header))?;
                is_in = true;
            } else if let Some(pair) = basic(value).filter(|pair| self.stands_in(pair)) {
                self.may_stand(&target, secure, named && name == "authorization", Place::Header)?;
                let pair = replaced(&pair, self.placeholder.as_bytes(), self.value.0.as_bytes());
                let pair = pair.ok_or_else(|| self.misplaced(Place::Header))?;
                let encoded = BASE64.encode(pair);
                swapped.values.push(encoded.clone().into_bytes());
                *value = format!("Basic {encoded}").into_bytes();
                is_in = true;
            }
        }
        if let Some(query) = asked.query.take() {
            let (query, was_in) = self.swap_query(query, &target, secure)?;
            asked.query = Some(query);
            is_in |= was_in;
        }
        if is_in {
            swapped.names.push(self.name.clone());
        }
        Ok(())
    }

    fn swap_query(&self, query: String, target: &Target, secure: bool) -> Result<(String, bool), Misplaced> {
        if !self.stands_in(query.as_bytes()) {
            return Ok((query, false));
        }
        let mut parts = Vec::new();
        for part in query.split('&') {
            if !self.stands_in(part.as_bytes()) {
                parts.push(part.to_owned());
                continue;
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let named = value == self.placeholder && self.query.iter().any(|own| own == name);
            self.may_stand(target, secure, named, Place::Address)?;
            parts.push(format!("{name}={}", forms::escaped(&self.value.0)));
        }
        let query = parts.join("&");
        // It stands across what separates parameters.
        if self.stands_in(query.as_bytes()) { Err(self.misplaced(Place::Address)) } else { Ok((query, true)) }
    }
}

/// User and password of a header of basic authentication.
fn basic(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = value.split_at_checked(6)?;
    let rest = rest.trim_ascii();
    scheme.eq_ignore_ascii_case(b"basic ").then(|| BASE64.decode(rest).ok()).flatten()
}

/// No text holds the empty word.
fn holds(text: &[u8], word: &[u8]) -> bool {
    // The first byte alone tells of nearly all places that the word is not there.
    let Some(first) = word.first() else { return false };
    text.windows(word.len()).any(|window| window[0] == *first && window == word)
}

/// `text` with every `word` replaced; `None` where it stands there in another spelling only.
fn replaced(text: &[u8], word: &[u8], by: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut rest, mut found) = (Vec::with_capacity(text.len()), text, false);
    while let Some(first) = rest.first() {
        if let Some(after) = rest.strip_prefix(word) {
            out.extend_from_slice(by);
            (rest, found) = (after, true);
        } else {
            out.push(*first);
            rest = rest.get(1..).unwrap_or_default();
        }
    }
    found.then_some(out)
}

/// Escapes undone as often as there are any, but not without end.
pub(crate) fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    for _ in 0..3 {
        let mut plain = Vec::with_capacity(text.len());
        let mut rest = text.as_slice();
        while let Some((first, after)) = rest.split_first() {
            let digit = |byte: &u8| char::from(*byte).to_digit(16);
            match after {
                [high, low, after @ ..] if *first == b'%' => match (digit(high), digit(low)) {
                    (Some(high), Some(low)) => {
                        plain.push((high * 16 + low) as u8);
                        rest = after;
                    }
                    _ => {
                        plain.push(*first);
                        rest = rest.get(1..).unwrap_or_default();
                    }
                },
                _ => {
                    plain.push(*first);
                    rest = after;
                }
            }
        }
        text = plain;
    }
    text
}

#[cfg(test)]
mod tests;
