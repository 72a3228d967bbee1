//! A report for a spreadsheet.

use super::rows::{Key, Row};
use crate::cli::CostsBy;

/// The rows for a spreadsheet: a head, then a line each, amounts in plain USD.
pub(super) fn csv(by: CostsBy, rows: &[Row]) -> String {
    let keys: &[&str] = match by {
        CostsBy::Run => &["run_id", "workflow"],
        CostsBy::Step => &["run_id", "workflow", "step"],
        CostsBy::Workflow => &["workflow"],
        CostsBy::Key => &["key"],
        CostsBy::Agent => &["workflow", "agent"],
        CostsBy::Provider => &["provider"],
        CostsBy::Label => &["label"],
        CostsBy::Model => &["provider", "model"],
        CostsBy::Day => &["day"],
    };
    let sums = [
        "calls",
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "cost_usd",
        "uncertain_usd",
        "cache_hits",
        "saved_usd",
        "cache_write_tokens",
        "prompt_cache_saved_usd",
    ];
    let mut text = csv::Writer::from_writer(Vec::new());
    // Writing to memory does not fail.
    let _ = text.write_record(keys.iter().chain(&sums));
    for Row { key, sum, .. } in rows {
        let mut cells: Vec<String> = keys.iter().map(|name| cell(key, name)).collect();
        cells.extend([
            sum.calls.to_string(),
            sum.input_tokens.to_string(),
            sum.cached_tokens.to_string(),
            sum.output_tokens.to_string(),
            sum.cost.to_string(),
            sum.uncertain.to_string(),
            sum.hits.to_string(),
            sum.saved.to_string(),
            sum.prompt_cache.written_tokens.to_string(),
            sum.prompt_cache.saved.to_string(),
        ]);
        let _ = text.write_record(&cells);
    }
    String::from_utf8(text.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// A name as a cell. Steps choose names, and a spreadsheet runs what begins like a formula.
fn cell(key: &Key, name: &str) -> String {
    let text = match name {
        "run_id" => key.run_id.map(|id| id.to_string()),
        "workflow" => key.workflow.clone(),
        "step" => key.step.clone(),
        "agent" => key.agent.clone(),
        "key" => key.key.clone(),
        "provider" => key.provider.clone(),
        "model" => key.model.clone(),
        "label" => key.label.clone(),
        _ => key.day.map(|day| day.to_string()),
    };
    let text = text.unwrap_or_default();
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use wflo_core::cost::Sum;

    use super::super::super::trend::Series;
    use super::*;

    #[test]
    fn a_name_that_begins_like_a_formula_is_text() {
        let key = Key { model: Some("=HYPERLINK(\"x\")".to_owned()), ..Key::default() };
        let rows = [Row { key, sum: Sum::default(), series: Series::default() }];
        let text = csv(CostsBy::Model, &rows);
        assert!(
            text.lines().nth(1).unwrap().starts_with(",\"'=HYPERLINK(\"\"x\"\")\",0,0,0,0,0.00,0.00"),
            "{text}"
        );
    }
}
