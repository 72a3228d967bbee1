//! The same request under another model's name.
//!
//! Owns where each dialect has that name. The rest of the body stays as it is, byte for byte.

use bytes::Bytes;

use crate::dialect::json::{Edit, Fields, splice};
use crate::dialect::request::RequestError;
use crate::dialect::target;

/// Path and body that ask for `model`.
pub(super) fn renamed(suffix: &str, body: &Bytes, model: &str) -> Result<(String, Bytes), RequestError> {
    let fields = Fields::read(body)?;
    let stated = fields.get("model");
    // Google's stands in the path, `/models/NAME:verb`; its body may repeat it as `models/NAME`.
    let (version, path) = target::version(suffix);
    if let Some((_, verb)) = path.strip_prefix("/models/").and_then(|rest| rest.rsplit_once(':')) {
        let edits =
            stated.map(|field| Edit { at: field.at.clone(), text: quoted(&format!("models/{model}")) });
        return Ok((format!("{version}/models/{model}:{verb}"), splice(body, edits.into_iter().collect())));
    }
    let stated = stated.ok_or(RequestError::Missing("model"))?;
    let edit = Edit { at: stated.at.clone(), text: quoted(model) };
    Ok((suffix.to_owned(), splice(body, vec![edit])))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_changes() {
        let body = Bytes::from_static(b"{ \"x\":1.0e5, \"model\" : \"a\\u0062\" ,\"y\":[ ]}");
        let (suffix, out) = renamed("/chat/completions", &body, "o/\"n\"").unwrap();
        assert_eq!(suffix, "/chat/completions");
        assert_eq!(out, b"{ \"x\":1.0e5, \"model\" : \"o/\\\"n\\\"\" ,\"y\":[ ]}"[..]);
        let (suffix, out) =
            renamed("/v1beta/models/a:generateContent", &"{\"contents\":[]}".into(), "b").unwrap();
        assert_eq!(
            (suffix.as_str(), &out[..]),
            ("/v1beta/models/b:generateContent", &b"{\"contents\":[]}"[..])
        );
        let (_, out) = renamed("/models/a:embedContent", &"{\"model\":\"models/a\"}".into(), "b").unwrap();
        assert_eq!(out, "{\"model\":\"models/b\"}");
        assert!(renamed("/messages", &"{}".into(), "b").is_err());
    }
}
