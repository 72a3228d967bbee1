//! CEL conditions of `condition` steps and policies.
//!
//! Owns their bounds: the CEL library has no cost limit, so wflo refuses what could run long before
//! it is parsed (length, nesting) and after (nested comprehensions, unknown names).
//! **Architecture Invariant:** an evaluation error never counts as true or false; callers fail closed.

mod spot;

pub use spot::Spot;

use std::collections::BTreeMap;

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr};
use serde_json::Value;

/// The longest condition, in bytes.
pub const MAX_SOURCE: usize = 2_048;
/// The deepest nesting of brackets and operators.
pub const MAX_DEPTH: usize = 32;

/// A condition that compiled and names only what exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    source: String,
}

/// Why a condition was refused or could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// Longer or deeper than the bounds.
    #[error("the condition is too large: at most {MAX_SOURCE} bytes and {MAX_DEPTH} levels")]
    TooLarge,
    /// Not CEL.
    #[error("the condition is not valid CEL{}", pointed(.message, .at.as_ref()))]
    Syntax {
        /// What is wrong, in a few words.
        message: String,
        /// Where.
        at: Option<Spot>,
    },
    /// A name that does not exist where the condition is evaluated.
    #[error("the condition names `{name}`, which does not exist here; known names: {known}{}", below(.at.as_ref()))]
    UnknownName {
        /// The unknown name.
        name: String,
        /// The names that exist.
        known: String,
        /// Where it stands.
        at: Option<Spot>,
    },
    /// More than one `all`, `exists`, `map`, `filter` inside each other.
    #[error("the condition nests comprehensions (all, exists, map, filter), which could run without end")]
    NestedComprehension,
    /// Evaluation failed or gave no boolean.
    #[error("the condition could not be evaluated: {0}")]
    Evaluation(String),
}

/// `: message`, with the place before it and the line below.
fn pointed(message: &str, at: Option<&Spot>) -> String {
    match at {
        Some(spot) => format!(", at {}: {message}\n{spot}", spot.words()),
        None => format!(": {message}"),
    }
}

fn below(at: Option<&Spot>) -> String {
    at.map(|spot| format!("\n{spot}")).unwrap_or_default()
}

impl Condition {
    /// Compiles `source`, which may name only `names`.
    ///
    /// # Errors
    /// [`ConditionError`] when it is too large, not CEL, or names something else.
    pub fn parse(source: &str, names: &[&str]) -> Result<Self, ConditionError> {
        if source.len() > MAX_SOURCE || depth(source) > MAX_DEPTH {
            return Err(ConditionError::TooLarge);
        }
        let program = compile(source)?;
        let mut walk = Walk { names, bound: Vec::new(), program: &program, source };
        walk.expression(program.expression())?;
        Ok(Condition { source: source.to_owned() })
    }

    /// The text it was made from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Evaluates the condition over JSON values.
    ///
    /// # Errors
    /// [`ConditionError::Evaluation`] when a value is missing, types do not fit, or it is no boolean.
    pub fn evaluate(&self, values: &BTreeMap<&str, Value>) -> Result<bool, ConditionError> {
        let program = compile(&self.source)?;
        let mut context = cel::Context::default();
        for (name, value) in values {
            context.add_variable(*name, value).map_err(|e| ConditionError::Evaluation(e.to_string()))?;
        }
        match program.execute(&context) {
            Ok(cel::Value::Bool(answer)) => Ok(answer),
            Ok(other) => {
                Err(ConditionError::Evaluation(format!("it gives {:?}, not true or false", other.type_of())))
            }
            Err(e) => Err(ConditionError::Evaluation(e.to_string())),
        }
    }
}

/// Something that a condition names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    /// `outputs.step.text`: a name and what is selected from it.
    Path(Vec<String>),
    /// `outputs.step.contains(…)`: a function called on a path.
    Call {
        /// What it is called on.
        path: Vec<String>,
        /// Its name.
        function: String,
    },
    /// A function that does not exist.
    Function {
        /// Its name.
        name: String,
        /// The nearest one that exists.
        near: Option<String>,
    },
}

/// What is written most in conditions; only for saying what somebody may have meant.
const FUNCTIONS: [&str; 17] = [
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "size",
    "string",
    "int",
    "double",
    "bool",
    "has",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
    "timestamp",
    "duration",
];

/// All that a condition refers to.
///
/// # Errors
/// [`ConditionError::Syntax`].
pub(crate) fn references(source: &str) -> Result<Vec<Reference>, ConditionError> {
    let program = compile(source)?;
    let mut found = Vec::new();
    collect(program.expression(), &mut found);
    Ok(found)
}

fn collect(ided: &IdedExpr, found: &mut Vec<Reference>) {
    if let Some(path) = path_of(&ided.expr) {
        found.push(Reference::Path(path));
        return;
    }
    match &ided.expr {
        Expr::Call(call) => {
            let is_word = call.func_name.starts_with(|c: char| c.is_ascii_alphabetic());
            if is_word && !is_function(&call.func_name) {
                let near = crate::definition::nearest(&call.func_name, FUNCTIONS.into_iter());
                let name = call.func_name.clone();
                found.push(Reference::Function { name, near: near.map(str::to_owned) });
            }
            match call.target.as_ref().and_then(|target| path_of(&target.expr)) {
                Some(path) => found.push(Reference::Call { path, function: call.func_name.clone() }),
                None => call.target.iter().for_each(|target| collect(target, found)),
            }
            call.args.iter().for_each(|inner| collect(inner, found));
        }
        // `has(outputs.a.b)` asks whether it is there; what it asks of must be.
        Expr::Select(select) => collect(&select.operand, found),
        Expr::List(list) => list.elements.iter().for_each(|inner| collect(inner, found)),
        Expr::Map(map) => map.entries.iter().for_each(|entry| of_entry(&entry.expr, found)),
        Expr::Struct(fields) => fields.entries.iter().for_each(|entry| of_entry(&entry.expr, found)),
        Expr::Comprehension(each) => {
            for inner in [&each.iter_range, &each.accu_init, &each.loop_cond, &each.loop_step, &each.result] {
                collect(inner, found);
            }
        }
        _ => {}
    }
}

fn of_entry(entry: &EntryExpr, found: &mut Vec<Reference>) {
    match entry {
        EntryExpr::StructField(field) => collect(&field.value, found),
        EntryExpr::MapEntry(entry) => {
            collect(&entry.key, found);
            collect(&entry.value, found);
        }
    }
}

/// The path that an expression spells. A selection from anything but a name is none.
fn path_of(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::Ident(name) => Some(vec![name.clone()]),
        Expr::Select(select) if !select.test => {
            let mut path = path_of(&select.operand.expr)?;
            path.push(select.field.clone());
            Some(path)
        }
        _ => None,
    }
}

/// Whether the library knows a function of this name, asked of the library itself.
fn is_function(name: &str) -> bool {
    let unknown = |source: String| {
        let program = cel::Program::compile(&source);
        let ran = program.map(|program| program.execute(&cel::Context::default()).map(|_| ()));
        matches!(ran, Ok(Err(cel::ExecutionError::UndeclaredReference(_))))
    };
    !(unknown(format!("{name}('')")) && unknown(format!("''.{name}('')")))
}

fn compile(source: &str) -> Result<cel::Program, ConditionError> {
    cel::Program::compile(source).map_err(|errors| {
        let (message, at) = spot::first(source, &errors);
        ConditionError::Syntax { message, at }
    })
}

/// Brackets and unary operators open at once: what the recursive parser and evaluator would recurse into.
fn depth(source: &str) -> usize {
    let (mut open, mut deepest, mut unary) = (0_usize, 0_usize, 0_usize);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            b'!' | b'-' | b'?' | b'.' | b'&' | b'|' | b'+' | b'*' => unary += 1,
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest + unary / 8
}

/// Checks names and nesting over the parsed expression.
struct Walk<'a> {
    names: &'a [&'a str],
    bound: Vec<&'a str>,
    program: &'a cel::Program,
    source: &'a str,
}

impl<'a> Walk<'a> {
    fn expression(&mut self, ided: &'a IdedExpr) -> Result<(), ConditionError> {
        match &ided.expr {
            Expr::Ident(name) => self.name(name, ided.id),
            Expr::Call(call) => {
                call.target.iter().map(|t| &**t).chain(&call.args).try_for_each(|e| self.expression(e))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|e| self.expression(e)),
            Expr::Map(map) => map.entries.iter().try_for_each(|e| self.entry(&e.expr)),
            Expr::Struct(fields) => fields.entries.iter().try_for_each(|e| self.entry(&e.expr)),
            Expr::Select(select) => self.expression(&select.operand),
            Expr::Comprehension(each) => {
                self.expression(&each.iter_range)?;
                self.expression(&each.accu_init)?;
                if !self.bound.is_empty() {
                    return Err(ConditionError::NestedComprehension);
                }
                self.bound.extend([each.iter_var.as_str(), each.accu_var.as_str()]);
                self.bound.extend(each.iter_var2.as_deref());
                for inner in [&each.loop_cond, &each.loop_step, &each.result] {
                    self.expression(inner)?;
                }
                self.bound.clear();
                Ok(())
            }
            Expr::Literal(_) | Expr::Unspecified => Ok(()),
        }
    }

    fn entry(&mut self, entry: &'a EntryExpr) -> Result<(), ConditionError> {
        match entry {
            EntryExpr::StructField(field) => self.expression(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.expression(&entry.key)?;
                self.expression(&entry.value)
            }
        }
    }

    fn name(&self, name: &str, id: u64) -> Result<(), ConditionError> {
        if self.names.contains(&name) || self.bound.contains(&name) {
            return Ok(());
        }
        let start =
            self.program.source_info().offset_for(id).and_then(|(start, _)| usize::try_from(start).ok());
        let at = start.map(|start| Spot::of_byte(self.source, start));
        Err(ConditionError::UnknownName { name: name.to_owned(), known: self.names.join(", "), at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values() -> BTreeMap<&'static str, Value> {
        BTreeMap::from([
            ("outputs", json!({"summarise": {"cost_usd": 0.5, "n": 3}})),
            ("inputs", json!({"text": "hello"})),
            ("estimated_cost", json!(120.0)),
        ])
    }

    #[test]
    fn conditions_see_inputs_and_outputs() {
        let names = ["outputs", "inputs", "estimated_cost"];
        for (source, expected) in [
            ("outputs.summarise.cost_usd < 1.0", true),
            ("outputs.summarise.n == 3", true),
            ("inputs.text == 'hello'", true),
            ("estimated_cost > 100", true),
        ] {
            let condition = Condition::parse(source, &names).unwrap();
            assert_eq!(condition.evaluate(&values()).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn what_cannot_be_decided_is_an_error_not_an_answer() {
        let condition = Condition::parse("outputs.missing.x > 1", &["outputs"]).unwrap();
        assert!(matches!(condition.evaluate(&values()), Err(ConditionError::Evaluation(_))));
        let condition = Condition::parse("outputs.summarise.n", &["outputs"]).unwrap();
        assert!(condition.evaluate(&values()).is_err());
    }

    #[test]
    fn unknown_names_and_hostile_sources_are_refused() {
        assert!(matches!(Condition::parse("cost > 1", &["inputs"]), Err(ConditionError::UnknownName { .. })));
        assert!(matches!(Condition::parse("1 +", &[]), Err(ConditionError::Syntax { .. })));
        let deep = format!("{}1{}", "(".repeat(1000), ")".repeat(1000));
        assert!(matches!(Condition::parse(&deep, &[]), Err(ConditionError::TooLarge)));
        let nested = "inputs.a.all(x, inputs.a.all(y, x == y))";
        assert!(matches!(Condition::parse(nested, &["inputs"]), Err(ConditionError::NestedComprehension)));
    }
}
