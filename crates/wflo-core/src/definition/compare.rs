//! What two descriptions of one workflow differ in, in words.
//!
//! A script can change its workflow in memory (a budget set under `if __name__ == "__main__":`)
//! while its steps run in processes that import the file afresh. What would be lost on the way is
//! found here, by noun, so that it can be refused and not ignored.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{BudgetSpec, Definition, PolicySpec, StepSpec};

/// The longest value that is shown, in characters.
const SHOWN: usize = 60;
/// How much of what is the same is shown before the first difference of two long values.
const BEFORE: usize = 12;

/// One thing that two definitions say differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What: `budget per run`, `` policy `p` ``, `` retries of step `load` ``.
    pub what: String,
    /// What this one says; none when it says nothing.
    pub mine: Option<String>,
    /// What the other says.
    pub theirs: Option<String>,
}

impl Definition {
    /// What `other`, a definition as a runner describes it, says differently; none when it has not
    /// the shape of a definition. Places do not count, nor whether a default was written out.
    pub fn differences(&self, other: &Value) -> Option<Vec<Difference>> {
        let other: Definition = serde_json::from_value(other.clone()).ok()?;
        let mut found = Vec::new();
        fields(&mut found, |key| key.to_owned(), &head(self), &head(&other));
        fields(&mut found, |key| format!("input `{key}`"), &table(&self.inputs), &table(&other.inputs));
        budgets(&mut found, "", &self.budgets, &other.budgets);
        fields(&mut found, |key| format!("sandbox {key}"), &table(&self.sandbox), &table(&other.sandbox));
        named(&mut found, "policy", &policies(self), &policies(&other), |_, _, _| {});
        let (mine, theirs) = (steps(self), steps(&other));
        named(&mut found, "step", &mine, &theirs, |found, what, name| {
            let of = |definition: &Definition| {
                definition.steps.iter().find(|s| s.name == name).map_or_else(Vec::new, |s| s.budgets.clone())
            };
            budgets(found, &format!(" of {what}"), &of(self), &of(&other));
        });
        if found.is_empty() && order(self) != order(&other) {
            let (mine, theirs) = (Some(order(self)), Some(order(&other)));
            found.push(Difference { what: "the order of the steps".to_owned(), mine, theirs });
        }
        Some(found)
    }
}

type Table = Map<String, Value>;

fn table(of: &impl serde::Serialize) -> Table {
    match serde_json::to_value(of) {
        Ok(Value::Object(table)) => table,
        _ => Table::new(),
    }
}

/// What is a workflow's own and has no noun around it.
fn head(of: &Definition) -> Table {
    let Definition {
        name,
        version,
        inputs: _,
        budgets: _,
        sandbox: _,
        policies: _,
        timeout_seconds,
        steps: _,
    } = of;
    let mut head = Table::from_iter([("name".to_owned(), Value::from(name.as_str()))]);
    head.extend(version.as_ref().map(|label| ("version".to_owned(), Value::from(label.as_str()))));
    head.extend(timeout_seconds.map(|limit| ("timeout_seconds".to_owned(), Value::from(limit.0))));
    head
}

fn policies(of: &Definition) -> BTreeMap<&str, Table> {
    let plain = |policy: &PolicySpec| table(&PolicySpec { place: None, ..policy.clone() });
    of.policies.iter().map(|policy| (policy.name.as_str(), plain(policy))).collect()
}

fn steps(of: &Definition) -> BTreeMap<&str, Table> {
    let plain = |step: &StepSpec| table(&StepSpec { place: None, budgets: Vec::new(), ..step.clone() });
    of.steps.iter().map(|step| (step.name.as_str(), plain(step))).collect()
}

fn order(of: &Definition) -> String {
    let names: Vec<&str> = of.steps.iter().map(|step| step.name.as_str()).collect();
    names.join(", ")
}

fn fields(found: &mut Vec<Difference>, what: impl Fn(&str) -> String, mine: &Table, theirs: &Table) {
    for key in keys(mine.keys(), theirs.keys()) {
        found.extend(difference(what(key), mine.get(key), theirs.get(key)));
    }
}

/// What has a name is compared with its namesake; `more` looks at what its table does not hold.
fn named(
    found: &mut Vec<Difference>,
    noun: &str,
    mine: &BTreeMap<&str, Table>,
    theirs: &BTreeMap<&str, Table>,
    more: impl Fn(&mut Vec<Difference>, &str, &str),
) {
    for name in keys(mine.keys(), theirs.keys()) {
        let what = format!("{noun} `{name}`");
        match (mine.get(name), theirs.get(name)) {
            (Some(mine), Some(theirs)) => {
                fields(found, |key| format!("{key} of {what}"), mine, theirs);
                more(found, &what, name);
            }
            (mine, theirs) => {
                let there = |of: Option<&Table>| of.map(|_| "one".to_owned());
                found.push(Difference { what, mine: there(mine), theirs: there(theirs) });
            }
        }
    }
}

fn keys<'a, K: Ord + ?Sized + 'a>(
    mine: impl Iterator<Item = &'a K>,
    theirs: impl Iterator<Item = &'a K>,
) -> std::collections::BTreeSet<&'a K> {
    mine.chain(theirs).collect()
}

/// Limits add up, so that their order says nothing: those that only one side has, paired by scope.
fn budgets(found: &mut Vec<Difference>, of: &str, mine: &[BudgetSpec], theirs: &[BudgetSpec]) {
    let mut left: Vec<&BudgetSpec> = theirs.iter().collect();
    let mut extra = Vec::new();
    for limit in mine {
        match left.iter().position(|other| *other == limit) {
            Some(at) => drop(left.remove(at)),
            None => extra.push(limit),
        }
    }
    for limit in extra {
        let same = left.iter().position(|other| scope(other) == scope(limit)).map(|at| left.remove(at));
        let what = format!("budget{of} per {}", scope(limit));
        match same {
            Some(other) if other.limits() == limit.limits() => {
                fields(found, |key| format!("{key} of the {what}"), &table(limit), &table(other));
            }
            other => found.push(Difference { what, mine: Some(amount(limit)), theirs: other.map(amount) }),
        }
    }
    for limit in left {
        let what = format!("budget{of} per {}", scope(limit));
        found.push(Difference { what, mine: None, theirs: Some(amount(limit)) });
    }
}

fn amount(limit: &BudgetSpec) -> String {
    let limits = limit.limits();
    let shown: Vec<String> = limits.into_iter().map(|(measure, amount)| measure.show(amount)).collect();
    shown.join(", ")
}

fn scope(limit: &BudgetSpec) -> String {
    let per = serde_json::to_value(limit.per).ok();
    let per = per.as_ref().and_then(Value::as_str).unwrap_or("run");
    let mut scope = per.to_owned();
    for (name, value) in [("agent", &limit.agent), ("label", &limit.label), ("workflow", &limit.workflow)] {
        if let Some(value) = value {
            scope.push_str(&format!(" ({name} `{value}`)"));
        }
    }
    if let Some(period) = limit.period {
        scope.push_str(&format!(" and {}", period.name()));
    }
    scope
}

fn difference(what: String, mine: Option<&Value>, theirs: Option<&Value>) -> Option<Difference> {
    if mine == theirs {
        return None;
    }
    let text = |of: Option<&Value>| of.map(Value::to_string);
    let (mine, theirs) = (text(mine), text(theirs));
    let same = match (&mine, &theirs) {
        (Some(mine), Some(theirs)) => mine.chars().zip(theirs.chars()).take_while(|(a, b)| a == b).count(),
        _ => 0,
    };
    let short = |text: String| shortened(&text, same);
    Some(Difference { what, mine: mine.map(short), theirs: theirs.map(short) })
}

/// At most [`SHOWN`] characters of a value, among them those after the first `same`.
fn shortened(text: &str, same: usize) -> String {
    let length = text.chars().count();
    if length <= SHOWN {
        return text.to_owned();
    }
    let from = if same < SHOWN / 2 { 0 } else { same - BEFORE };
    let cut = length > from + SHOWN;
    let part = text.chars().skip(from).take(SHOWN);
    let marks = |is: bool| is.then_some('…');
    marks(from > 0).into_iter().chain(part).chain(marks(cut)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base() -> Value {
        let step = |name: &str, after: &[&str]| json!({"name": name, "type": "agent", "handler": "code", "depends_on": after, "place": "w.py:1"});
        json!({"name": "w", "steps": [step("a", &[]), step("b", &[])]})
    }

    fn said(mine: &Value, theirs: &Value) -> Vec<String> {
        let mine = Definition::parse(mine).unwrap();
        let text = |d: Difference| {
            let side = |side: Option<String>| side.unwrap_or_else(|| "none".to_owned());
            format!("{}: {} / {}", d.what, side(d.mine), side(d.theirs))
        };
        mine.differences(theirs).unwrap().into_iter().map(text).collect()
    }

    #[test]
    fn the_same_in_other_words_is_the_same() {
        let mut mine = base();
        mine["version"] = Value::Null;
        mine["budgets"] = json!([{"max_cost_usd": "5", "per": "run", "agent": null}, {"max_cost_usd": 1}]);
        mine["steps"][0]["place"] = json!("elsewhere/w.py:7");
        let mut theirs = base();
        theirs["budgets"] = json!([{"max_cost_usd": "1.00"}, {"max_cost_usd": "5.00"}]);
        theirs["sandbox"] = json!({});
        theirs["steps"][1]["retries"] = json!(0);
        assert_eq!(said(&mine, &theirs), Vec::<String>::new());
    }

    #[test]
    fn each_noun_is_named_with_both_sides() {
        let mut mine = base();
        mine["version"] = json!("2");
        mine["inputs"] = json!({"x": {"type": "string"}});
        mine["budgets"] = json!([{"max_cost_usd": "0.000001"}, {"max_cost_usd": "3", "per": "day"}]);
        mine["sandbox"] = json!({"memory_limit": "64m"});
        mine["policies"] = json!([{"name": "p", "condition": "cost > 1.0", "actions": [{"type": "deny"}]}]);
        mine["steps"][0]["retries"] = json!(2);
        mine["steps"][1]["budgets"] =
            json!([{"max_cost_usd": "1", "per": "step", "action_on_exceeded": "ask"}]);
        let mut theirs = base();
        theirs["name"] = json!("other");
        theirs["budgets"] = json!([{"max_cost_usd": "4", "per": "day"}]);
        theirs["steps"][1]["budgets"] = json!([{"max_cost_usd": "1", "per": "step"}]);
        theirs["steps"].as_array_mut().unwrap().push(json!({"name": "c", "type": "tool", "run": ["true"]}));
        assert_eq!(
            said(&mine, &theirs),
            [
                "name: \"w\" / \"other\"",
                "version: \"2\" / none",
                "input `x`: {\"required\":false,\"type\":\"string\"} / none",
                "budget per run: $0.000001 / none",
                "budget per day: $3.00 / $4.00",
                "sandbox memory_limit: \"64m\" / none",
                "policy `p`: one / none",
                "retries of step `a`: 2 / 0",
                "action_on_exceeded of the budget of step `b` per step: \"ask\" / none",
                "step `c`: none / one",
            ]
        );
    }

    #[test]
    fn long_values_are_shown_where_they_part() {
        let (mut mine, mut theirs) = (base(), base());
        mine["version"] = json!("x".repeat(200) + "mine");
        theirs["version"] = json!("x".repeat(200) + "theirs");
        let said = said(&mine, &theirs);
        assert!(said[0].contains("xmine\" / …") && said[0].contains("xtheirs\""), "{said:?}");
    }

    #[test]
    fn the_order_of_steps_counts_when_nothing_else_differs() {
        let mut theirs = base();
        theirs["steps"].as_array_mut().unwrap().reverse();
        assert_eq!(said(&base(), &theirs), ["the order of the steps: a, b / b, a"]);
    }

    #[test]
    fn what_is_no_definition_cannot_be_compared() {
        assert_eq!(Definition::parse(&base()).unwrap().differences(&json!({"steps": 1})), None);
    }
}
