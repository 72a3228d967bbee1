use super::*;

fn machine(installed: &str) -> Machine {
    Machine {
        system: "debian 12".to_owned(),
        architecture: "amd64".to_owned(),
        installed: installed.to_owned(),
        versions: [("jq".to_owned(), "1.6-2.1".to_owned())].into(),
    }
}

fn wanted(packages: &[&str]) -> Programs {
    let packages: Vec<String> = packages.iter().map(|package| (*package).to_owned()).collect();
    Programs::of(&packages, Vec::new(), super::super::USUAL_DISK).unwrap()
}

#[test]
fn a_key_is_all_that_decides_what_is_fetched() {
    let sources =
        |text: &str| Sources { files: vec![("x".to_owned(), text.to_owned())], ..Sources::default() };
    let key = |installed: &str, text: &str, packages: &[&str]| {
        Basis { machine: machine(installed), sources: sources(text) }.key(&wanted(packages)).unwrap()
    };
    let one = key("a", "s", &["tree", "jq"]);
    assert_eq!(one, key("a", "s", &["jq", "tree", "jq"]), "in any order, and once");
    for other in [
        key("b", "s", &["tree", "jq"]),
        key("a", "t", &["tree", "jq"]),
        key("a", "s", &["tree"]),
        key("a", "s", &["tree", "jq=1.6*"]),
    ] {
        assert_ne!(one, other);
    }
}

#[test]
fn what_the_machine_has_is_not_fetched_and_not_replaced() {
    let names = |packages: &[&str]| {
        let missing = wanted(packages).missing(&machine("a"));
        missing.map(|missing| missing.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(names(&["jq", "tree"]).unwrap(), ["tree"]);
    assert!(names(&["jq=1.6*"]).unwrap().is_empty());
    let refused = names(&["jq=1.7", "tree"]).unwrap_err().to_string();
    assert!(refused.contains("jq=1.7") && refused.contains("1.6-2.1"), "{refused}");
}

#[test]
fn what_is_asked_for_is_there_in_the_end() {
    let found = Found::read("file tree 2.1 amd64 00\n");
    let programs = wanted(&["tree=2*"]);
    assert!(programs.check(&programs.packages, &found).is_ok());
    let programs = wanted(&["tree=3*"]);
    assert!(programs.check(&programs.packages, &found).is_err());
    assert!(programs.check(&programs.packages, &Found::default()).is_err());
}

#[test]
fn what_is_no_package_is_told() {
    let packages = ["jq".to_owned(), "--allow-unauthenticated".to_owned()];
    let (text, why) = Programs::of(&packages, Vec::new(), super::super::USUAL_DISK).unwrap_err();
    assert_eq!((text.as_str(), why), ("--allow-unauthenticated", NotNamed::Name));
}
