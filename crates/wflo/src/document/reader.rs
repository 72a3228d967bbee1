//! Typed reading of a [`Table`]: each key is asked for once, and what is left over is an error.

use std::str::FromStr;

use super::{Entry, Kind, Node, Origin, Problem, Table, Value};

/// Reads one table.
pub(crate) struct Reader<'a> {
    /// The table's dotted name; empty for the whole file.
    path: String,
    origin: Origin,
    table: &'a Table,
    asked: Vec<&'static str>,
}

/// One value with its dotted name.
#[derive(Clone)]
pub(crate) struct Field<'a> {
    pub(crate) path: String,
    pub(crate) node: &'a Node,
}

impl<'a> Reader<'a> {
    /// A reader of the whole file.
    ///
    /// # Errors
    /// When the file is not a table of keys.
    pub(crate) fn root(node: &'a Node) -> Result<Self, Problem> {
        Field { path: String::new(), node }.table()
    }

    /// Where this table stands.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The value under `key`; a written `null` counts as absent.
    pub(crate) fn optional(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.asked.push(key);
        let node = self.table.get(key)?;
        let absent = matches!(node.value, Value::Null);
        (!absent).then(|| Field { path: join(&self.path, key), node })
    }

    /// The value under `key`.
    ///
    /// # Errors
    /// A [`Kind::Missing`] problem when it is not there.
    pub(crate) fn required(&mut self, key: &'static str) -> Result<Field<'a>, Problem> {
        self.optional(key).ok_or_else(|| {
            // A misspelt key is the likelier mistake: name it where it stands.
            let strangers =
                self.table.entries.iter().filter(|entry| !self.asked.contains(&entry.key.as_str()));
            if let Some(entry) =
                strangers.into_iter().find(|entry| nearest(&entry.key, [key].into_iter()).is_some())
            {
                return unknown(&self.path, entry, &[key]);
            }
            let name = join(&self.path, key);
            Problem::new(Kind::Missing, &self.origin, format!("`{name}` is missing"))
        })
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// A [`Kind::UnknownKey`] problem for the first key that nobody asked for, with the nearest one.
    pub(crate) fn finish(&self) -> Result<(), Problem> {
        let stranger = self.table.entries.iter().find(|entry| !self.asked.contains(&entry.key.as_str()));
        stranger.map_or(Ok(()), |entry| Err(unknown(&self.path, entry, &self.asked)))
    }
}

/// The problem of a key that does not exist.
fn unknown(path: &str, entry: &Entry, known: &[&str]) -> Problem {
    let place = if path.is_empty() { "at the top level".to_owned() } else { format!("in `{path}`") };
    let problem =
        Problem::new(Kind::UnknownKey, &entry.origin, format!("there is no key `{}` {place}", entry.key));
    match nearest(&entry.key, known.iter().copied()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint(format!("the keys here are {}", known.join(", "))),
    }
}

/// The candidate that `given` was most likely meant to be, if any is close.
pub(crate) fn nearest<'c>(given: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let given = given.to_ascii_lowercase();
    candidates
        .filter(|candidate| strsim::jaro_winkler(&given, candidate) > 0.75)
        .map(|candidate| (strsim::damerau_levenshtein(&given, candidate), candidate))
        .filter(|(steps, candidate)| steps * 2 <= candidate.chars().count().max(2))
        .min_by_key(|(steps, _)| *steps)
        .map(|(_, candidate)| candidate)
}

fn join(path: &str, key: &str) -> String {
    match (path.is_empty(), key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{key:?}"),
        (false, true) => format!("{path}.{key}"),
        (false, false) => format!("{path}.{key:?}"),
    }
}

impl<'a> Field<'a> {
    /// A problem with this value.
    pub(crate) fn problem(&self, kind: Kind, message: impl std::fmt::Display) -> Problem {
        Problem::new(kind, &self.node.origin, format!("`{}` {message}", self.path))
    }

    /// This value is of the wrong type or out of range: "`path` must be …".
    pub(crate) fn wrong(&self, must: impl std::fmt::Display) -> Problem {
        self.problem(Kind::WrongValue, format!("must be {must}"))
    }

    fn mistyped(&self, wanted: &str) -> Problem {
        self.wrong(format!("{wanted}, not {}", self.node.value.kind()))
    }

    /// Text.
    pub(crate) fn text(&self) -> Result<&'a str, Problem> {
        match &self.node.value {
            Value::Text(text) | Value::Untyped(text) => Ok(text),
            _ => Err(self.mistyped("text")),
        }
    }

    /// Text that is not empty.
    pub(crate) fn name(&self) -> Result<&'a str, Problem> {
        let text = self.text()?;
        if text.trim().is_empty() { Err(self.wrong("something, not empty text")) } else { Ok(text) }
    }

    /// A truth value.
    pub(crate) fn boolean(&self) -> Result<bool, Problem> {
        match &self.node.value {
            Value::Bool(truth) => Ok(*truth),
            Value::Untyped(text) if text == "true" || text == "1" => Ok(true),
            Value::Untyped(text) if text == "false" || text == "0" => Ok(false),
            _ => Err(self.mistyped("true or false")),
        }
    }

    /// A whole number of this type's range.
    pub(crate) fn whole<T: FromStr>(&self) -> Result<T, Problem> {
        match &self.node.value {
            Value::Number(digits) | Value::Untyped(digits) => digits
                .parse()
                .map_err(|_| self.wrong(format!("a whole number that is not negative, not `{digits}`"))),
            _ => Err(self.mistyped("a whole number")),
        }
    }

    /// A number; only for values that are not money.
    pub(crate) fn number(&self) -> Result<f64, Problem> {
        match &self.node.value {
            Value::Number(digits) | Value::Untyped(digits) => digits
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
                .ok_or_else(|| self.wrong(format!("a number, not `{digits}`"))),
            _ => Err(self.mistyped("a number")),
        }
    }

    /// A value of a type that reads text (money, sizes, durations), from text or from the digits
    /// of a number.
    pub(crate) fn parse<T>(&self) -> Result<T, Problem>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        match &self.node.value {
            Value::Text(text) | Value::Untyped(text) | Value::Number(text) => {
                text.parse().map_err(|error: T::Err| {
                    Problem::new(Kind::WrongValue, &self.node.origin, format!("`{}`: {error}", self.path))
                })
            }
            _ => Err(self.mistyped("text or a number")),
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Result<T, Problem> {
        let given = self.text()?;
        choices.iter().find(|(word, _)| *word == given).map(|(_, value)| *value).ok_or_else(|| {
            let words = choices.iter().map(|(word, _)| *word);
            let problem =
                self.wrong(format!("one of {}, not `{given}`", words.clone().collect::<Vec<_>>().join(", ")));
            match nearest(given, words) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem,
            }
        })
    }

    /// The items of a list; an environment variable is split at its commas.
    pub(crate) fn list(&self) -> Result<Vec<Field<'a>>, Problem> {
        match &self.node.value {
            Value::List(items) => Ok(items
                .iter()
                .enumerate()
                .map(|(index, node)| Field { path: format!("{}[{index}]", self.path), node })
                .collect()),
            _ => Err(self.mistyped("a list")),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&self) -> Result<Vec<String>, Problem> {
        if let Value::Untyped(text) = &self.node.value {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            return Ok(items.map(str::to_owned).collect());
        }
        self.list()?.iter().map(|item| item.name().map(str::to_owned)).collect()
    }

    /// A list of numbers.
    pub(crate) fn numbers(&self) -> Result<Vec<f64>, Problem> {
        if let Value::Untyped(text) = &self.node.value {
            let items = text.split(',').map(|item| item.trim().parse::<f64>());
            return items.collect::<Result<_, _>>().map_err(|_| self.wrong("numbers separated by commas"));
        }
        self.list()?.iter().map(Field::number).collect()
    }

    /// The reader of a table.
    pub(crate) fn table(&self) -> Result<Reader<'a>, Problem> {
        match &self.node.value {
            Value::Table(table) => Ok(Reader {
                path: self.path.clone(),
                origin: self.node.origin.clone(),
                table,
                asked: Vec::new(),
            }),
            _ if self.path.is_empty() => {
                Err(Problem::new(Kind::WrongValue, &self.node.origin, "the file must hold keys and values"))
            }
            _ => Err(self.mistyped("a table of keys")),
        }
    }

    /// The entries of a table whose keys are the user's names.
    pub(crate) fn named(&self) -> Result<Vec<(&'a str, Field<'a>)>, Problem> {
        let reader = self.table()?;
        Ok(reader
            .table
            .entries
            .iter()
            .map(|entry| {
                (entry.key.as_str(), Field { path: join(&self.path, &entry.key), node: &entry.node })
            })
            .collect())
    }

    /// The value as JSON; numbers by their digits.
    pub(crate) fn json(&self) -> serde_json::Value {
        to_json(self.node)
    }
}

fn to_json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Number(digits) => {
            serde_json::from_str(digits).unwrap_or_else(|_| serde_json::Value::String(digits.clone()))
        }
        Value::Text(text) | Value::Untyped(text) => text.clone().into(),
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Table(table) => {
            table.entries.iter().map(|entry| (entry.key.clone(), to_json(&entry.node))).collect()
        }
    }
}
