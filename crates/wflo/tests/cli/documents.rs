//! The published pages and schemas are those of this binary.

use std::path::PathBuf;

use super::wflo::Folder;

fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn schema(name: &str) -> jsonschema::Validator {
    let text = std::fs::read_to_string(docs().join(format!("schemas/{name}.schema.json"))).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

/// The line is what the published schema says.
pub fn assert_fits(name: &str, line: &str) {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    if let Err(error) = schema(name).validate(&value) {
        panic!("{name}: {error} in {line}");
    }
}

#[test]
fn the_command_line_reference_is_current() {
    let page = Folder::new().run(&["__docs", "cli"]).stdout;
    let path = docs().join("reference/cli.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == published, "docs/reference/cli.md is old: run `wflo __docs cli > docs/reference/cli.md`");
}

#[test]
fn every_error_code_of_the_command_line_has_a_page() {
    for code in (8001..=8001)
        .chain(8003..=8018)
        .chain(8100..=8102)
        .chain(3100..=3105)
        .chain(8020..=8022)
        .chain(5120..=5124)
        .chain(5240..=5244)
        .chain(5250..=5253)
        .chain(1101..=1104)
    {
        let page = std::fs::read_to_string(docs().join(format!("errors/WFLO-{code}.md"))).unwrap();
        assert!(page.starts_with(&format!("# WFLO-{code}: ")));
    }
}

#[test]
fn json_output_fits_its_published_schema() {
    let folder = Folder::new();
    assert_fits("error", &folder.run(&["run", "nothing.py", "--json"]).stdout);
    assert_fits("init", &folder.run(&["init", "a", "--json"]).stdout);
    folder.write("trusted/wflo.toml", "[sandbox]\nenv = [\"HOME\"]\n");
    assert_fits("trust", &folder.run(&["trust", "trusted", "--json"]).stdout);
    assert_fits("doctor", &folder.run(&["doctor", "--json"]).stdout);
    #[cfg(target_os = "linux")]
    assert_fits("sandbox-doctor", &folder.run(&["sandbox", "doctor", "--json"]).stdout);
}
