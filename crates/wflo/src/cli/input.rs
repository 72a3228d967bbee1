//! `--input K=V` and `--input-file F`: where a run's inputs come from.

use std::path::PathBuf;
use std::str::FromStr;

/// One input given on the command line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Input {
    pub(crate) name: String,
    /// JSON when the text is JSON, else the text: `365` is a number, `old` is text, `"365"` is text.
    pub(crate) value: serde_json::Value,
}

impl FromStr for Input {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, for example age=365")?;
        if name.trim().is_empty() {
            return Err("the name before `=` is missing".to_owned());
        }
        let value =
            serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::String(value.to_owned()));
        Ok(Input { name: name.trim().to_owned(), value })
    }
}

/// Whose run it is: `user=anna`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, for example user=anna")?;
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        if name.is_empty() || value.is_empty() {
            return Err("a label has a name and a value".to_owned());
        }
        Ok(Label { name, value })
    }
}

/// A file with inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InputFile {
    /// `-`.
    Stdin,
    Path(PathBuf),
}

impl FromStr for InputFile {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "-" { InputFile::Stdin } else { InputFile::Path(text.into()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_json_when_they_are_json() {
        let value = |text: &str| text.parse::<Input>().unwrap().value;
        assert_eq!(value("age=365"), 365);
        assert_eq!(value("age=\"365\""), "365");
        assert_eq!(value("who=Ada Lovelace"), "Ada Lovelace");
        assert_eq!(value("ids=[1,2]"), serde_json::json!([1, 2]));
        assert_eq!(value("query=a=b"), "a=b");
        assert_eq!(value("empty="), "");
        assert!("age".parse::<Input>().is_err());
        assert!("=1".parse::<Input>().is_err());
    }
}
