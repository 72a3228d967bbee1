//! What a request's body asks for, where a rule names that: tools of MCP, and operations of GraphQL.
//!
//! A body is read once, strictly, and sent as the very bytes that were read. What a server could take for something
//! else than is read here (a name that is there twice, in another case or in another script, fragments at
//! the root of an operation) is refused.

mod graphql;
mod json;

use serde_json::Value;

pub use self::graphql::Kind;
use self::json::Strict;

/// The most bytes of a body that is read before it is sent.
pub(crate) const MOST: usize = 1 << 20;

/// What of a body a rule allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Calls {
    /// Tools of an MCP server, by name, and what goes with calling them.
    Tools(Vec<Glob>),
    /// Fields at the root of GraphQL operations.
    Graphql(Vec<(Kind, Glob)>),
}

/// A name, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    begins: String,
    is_whole: bool,
}

impl Glob {
    fn parse(text: &str) -> Option<Glob> {
        let (begins, is_whole) = text.strip_suffix('*').map_or((text, true), |begins| (begins, false));
        let sound = begins.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte));
        (sound && !text.is_empty()).then(|| Glob { begins: begins.to_owned(), is_whole })
    }

    fn fits(&self, name: &str) -> bool {
        if self.is_whole { name == self.begins } else { name.starts_with(&self.begins) }
    }
}

/// Why a body is not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It cannot be read in one way.
    #[error("its body cannot be read in one way: {0}")]
    Unreadable(&'static str),
    /// Its address has a query, and some servers heed that before the body.
    #[error("its address has a query, which a server could heed instead of the body")]
    Query,
    /// What it asks for is not allowed.
    #[error("it asks for {0}, which no rule names")]
    NotNamed(String),
}

impl Calls {
    /// Reads `tools=search,read_*` or `graphql=query:*,mutation:addStar`.
    pub fn parse(text: &str) -> Option<Calls> {
        let (what, names) = text.split_once('=')?;
        match what {
            "tools" => names.split(',').map(Glob::parse).collect::<Option<_>>().map(Calls::Tools),
            "graphql" => {
                let read = |text: &str| {
                    let (kind, name) = text.split_once(':').unwrap_or((text, "*"));
                    Some((Kind::named(kind)?, Glob::parse(name)?))
                };
                names.split(',').map(read).collect::<Option<_>>().map(Calls::Graphql)
            }
            _ => None,
        }
    }

    /// Whether a request with this body, and without a query in its address, asks for nothing else.
    ///
    /// # Errors
    /// What it asks for, or why that cannot be said.
    pub fn judge(&self, method: &str, headers: &[(String, Vec<u8>)], body: &[u8]) -> Result<(), CallError> {
        match self {
            // The stream of what a server says, and the end of a session.
            Calls::Tools(_) if body.is_empty() && matches!(method, "GET" | "DELETE" | "HEAD") => Ok(()),
            Calls::Graphql(_) if method != "POST" => {
                Err(CallError::Unreadable("GraphQL is sent with POST where rules name operations"))
            }
            Calls::Tools(tools) => {
                plain_json(headers)?;
                tools_of(&Strict::read(body)?, tools)
            }
            Calls::Graphql(operations) => {
                plain_json(headers)?;
                operations_of(&Strict::read(body)?, operations)
            }
        }
    }
}

/// The body is JSON as it stands: neither compressed nor in another character set.
fn plain_json(headers: &[(String, Vec<u8>)]) -> Result<(), CallError> {
    let all = |name: &str| {
        let found = headers.iter().filter(move |(own, _)| own == name);
        found.map(|(_, value)| value.to_ascii_lowercase()).collect::<Vec<_>>()
    };
    if all("content-encoding").iter().any(|coding| coding != b"identity") {
        return Err(CallError::Unreadable("it is compressed"));
    }
    match all("content-type").as_slice() {
        [kind]
            if matches!(
                kind.as_slice(),
                b"application/json" | b"application/json; charset=utf-8" | b"application/json;charset=utf-8"
            ) =>
        {
            Ok(())
        }
        _ => Err(CallError::Unreadable("its type is not application/json")),
    }
}

/// Methods of MCP that read nothing and do nothing.
fn is_beside_tools(method: &str) -> bool {
    matches!(method, "initialize" | "ping" | "tools/list" | "logging/setLevel")
        || method.starts_with("notifications/")
}

fn tools_of(message: &Value, tools: &[Glob]) -> Result<(), CallError> {
    match message {
        Value::Array(messages) if !messages.is_empty() => {
            messages.iter().try_for_each(|message| match message {
                Value::Array(_) => Err(CallError::Unreadable("a batch within a batch")),
                message => tools_of(message, tools),
            })
        }
        Value::Object(_) => {
            json::plain_keys(message)?;
            let Some(method) = message.get("method") else {
                // An answer to what the server has asked.
                let answers = message.get("result").is_some() || message.get("error").is_some();
                return if answers {
                    Ok(())
                } else {
                    Err(CallError::Unreadable("a message without a method"))
                };
            };
            let method = method.as_str().ok_or(CallError::Unreadable("its method is no text"))?;
            if is_beside_tools(method) {
                return Ok(());
            }
            if method != "tools/call" {
                return Err(CallError::NotNamed(shown(method)));
            }
            let parameters =
                message.get("params").ok_or(CallError::Unreadable("a call without parameters"))?;
            json::plain_keys(parameters)?;
            let name = parameters.get("name").and_then(Value::as_str);
            let name = name.ok_or(CallError::Unreadable("a call without a tool's name"))?;
            if tools.iter().any(|tool| tool.fits(name)) {
                Ok(())
            } else {
                Err(CallError::NotNamed(format!("the tool {}", shown(name))))
            }
        }
        _ => Err(CallError::Unreadable("it is no message of JSON-RPC")),
    }
}

fn operations_of(body: &Value, allowed: &[(Kind, Glob)]) -> Result<(), CallError> {
    if !body.is_object() {
        return Err(CallError::Unreadable("it is not one GraphQL request"));
    }
    json::plain_keys(body)?;
    // A server that knows another name may run what that says: a document that it has kept.
    let known =
        |name: &String| matches!(name.as_str(), "query" | "variables" | "operationName" | "extensions");
    if !body.as_object().is_some_and(|body| body.keys().all(known)) {
        return Err(CallError::Unreadable(
            "it has more than a query, variables, operationName and extensions",
        ));
    }
    if let Some(extensions) = body.get("extensions").filter(|extensions| !extensions.is_null()) {
        json::plain_keys(extensions)?;
        let names_one = |name: &String| name.eq_ignore_ascii_case("persistedQuery");
        if extensions.as_object().is_some_and(|extensions| extensions.keys().any(names_one)) {
            return Err(CallError::Unreadable("it names a query that the server has kept"));
        }
    }
    let query = body.get("query").and_then(Value::as_str);
    let query = query.ok_or(CallError::Unreadable("it has no query of its own"))?;
    for (kind, field) in graphql::roots(query)? {
        if !allowed.iter().any(|(own, name)| *own == kind && name.fits(&field)) {
            return Err(CallError::NotNamed(format!("the {} {}", kind.name(), shown(&field))));
        }
    }
    Ok(())
}

/// A name that a program has chosen, in characters that a first line may have.
fn shown(name: &str) -> String {
    name.chars().take(80).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests;
