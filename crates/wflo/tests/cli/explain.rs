//! `wflo explain`: every error's page, without a file beside the binary.

use insta::assert_snapshot;

use super::documents::assert_fits;
use super::wflo::Folder;

#[test]
fn a_code_is_explained() {
    assert_snapshot!(Folder::new().shown(&["explain", "WFLO-3301"]));
}

#[test]
fn a_code_is_taken_as_people_type_it() {
    let folder = Folder::new();
    let page = folder.run(&["explain", "WFLO-3301"]).stdout;
    for given in ["3301", "wflo-3301", "[WFLO-3301]"] {
        assert_eq!(folder.run(&["explain", given]).stdout, page, "{given}");
    }
    let two = folder.run(&["explain", "3301", "1004"]).stdout;
    assert!(two.starts_with(&page) && two.contains("\n\nWFLO-1004: "), "{two}");
}

#[test]
fn an_unknown_code_names_the_near_ones() {
    assert_snapshot!(Folder::new().shown(&["explain", "3307"]));
}

#[test]
fn an_exception_is_no_code() {
    assert_snapshot!(Folder::new().shown(&["explain", "ZeroDivisionError"]));
}

#[test]
fn nothing_is_printed_when_one_of_several_is_unknown() {
    let ended = Folder::new().run(&["explain", "3301", "9876", "--json"]);
    assert_eq!(ended.code, 2);
    assert_fits("error", &ended.stdout);
}

#[test]
fn all_codes_are_listed_by_part() {
    let folder = Folder::new();
    let listed = folder.run(&["explain"]).stdout;
    let pages = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors")).unwrap();
    let names = pages.map(|page| page.unwrap().file_name().into_string().unwrap());
    let codes: Vec<String> = names
        .filter_map(|name| Some(name.strip_suffix(".md")?.to_owned()))
        .filter(|name| name != "README")
        .collect();
    assert!(codes.len() > 150);
    for code in &codes {
        assert_eq!(listed.matches(&format!("  {code}  ")).count(), 1, "{code}");
    }
    assert!(listed.starts_with("workflow definitions\n  WFLO-1001  "), "{listed}");
    let lines = folder.run(&["explain", "--json"]).stdout;
    assert_eq!(lines.lines().count(), codes.len());
    lines.lines().for_each(|line| assert_fits("explain", line));
}

#[test]
fn for_scripts_a_page_is_an_object() {
    let line = Folder::new().run(&["explain", "3301", "--json"]).stdout;
    assert_fits("explain", &line);
    let page: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(page["code"], "WFLO-3301");
    assert_eq!(page["title"], "a value is not JSON");
    for section in ["cause", "example", "fix"] {
        assert!(!page[section].as_str().unwrap().is_empty(), "{section}");
    }
}

#[test]
fn shells_complete_the_codes() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = folder.run(&["completions", shell]).stdout;
        assert!(script.contains("WFLO-3301"), "{shell}");
    }
    let help = folder.run(&["explain", "--help"]).stdout;
    assert!(!help.contains("WFLO-1001"), "the help is no list of codes: {help}");
}
