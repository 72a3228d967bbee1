//! What is put back, against what a plain copy of the later state would be.

use wflo_sandbox::workspace::{Digest, Target};

use super::*;

fn tree(entries: &[(&str, Kind)]) -> Manifest {
    let entry = |kind: &Kind| Entry::plain(kind.clone(), if *kind == Kind::Whiteout { 0 } else { 0o755 });
    let path = |text: &str| RelPath::from_bytes(text.as_bytes()).unwrap();
    let entries = entries.iter().map(|(name, kind)| (path(name), entry(kind))).collect();
    Manifest { entries, ..Manifest::default() }
}

fn file(content: &str) -> Kind {
    Kind::File { size: content.len() as u64, hash: Digest::of(content.as_bytes()) }
}

const FOLDER: Kind = Kind::Dir { opaque: false };
const OPAQUE: Kind = Kind::Dir { opaque: true };

fn said(before: &Manifest, after: &Manifest, now: &Manifest) -> Result<Vec<String>, String> {
    let shown = |put: &Put| match put {
        Put::Remove(path) => format!("- {path}"),
        Put::Folder(path, ..) => format!("{path}/"),
        Put::File(path, ..) => format!("{path}"),
        Put::Link(path, target) => format!("{path} -> {}", String::from_utf8_lossy(target)),
        Put::Mode(path, _) => format!("mode {path}"),
    };
    match plan(before, after, now, &Restored::new()) {
        Ok(puts) => Ok(puts.iter().map(shown).collect()),
        Err(path) => Err(path.to_string()),
    }
}

#[test]
fn what_changed_is_put_back_and_nothing_else() {
    let before = tree(&[("mine", file("1")), ("old", file("x"))]);
    let link = Kind::Symlink { target: Target(b"out".to_vec()) };
    let after = tree(&[
        ("mine", file("1")),
        ("old", Kind::Whiteout),
        ("build", FOLDER),
        ("build/out", file("made")),
        ("latest", link),
    ]);
    let puts = said(&before, &after, &before).unwrap();
    assert_eq!(puts, ["- old", "build/", "build/out", "latest -> out"]);
    assert_eq!(said(&before, &after, &after).unwrap(), Vec::<String>::new(), "it is as it should be");
    let half = tree(&[("mine", file("2")), ("old", file("x")), ("build", FOLDER)]);
    assert_eq!(said(&before, &after, &half).unwrap(), ["- old", "build/out", "latest -> out"]);
}

#[test]
fn a_path_that_other_code_wrote_is_refused() {
    let (before, after) = (tree(&[("a", file("1"))]), tree(&[("a", file("2")), ("b", file("2"))]));
    assert_eq!(said(&before, &after, &tree(&[("a", file("3"))])), Err("a".to_owned()));
    assert_eq!(said(&before, &after, &tree(&[("a", file("1")), ("b", file("3"))])), Err("b".to_owned()));
    assert_eq!(said(&before, &after, &tree(&[])), Err("a".to_owned()), "its code did not write it again");
    // What the tool did not touch is the code's own business.
    assert!(said(&before, &after, &tree(&[("a", file("1")), ("c", file("3"))])).is_ok());
}

#[test]
fn a_folder_that_was_replaced_is_emptied_and_filled() {
    let before = tree(&[("d", FOLDER), ("d/kept", file("1")), ("d/gone", file("2"))]);
    let after = tree(&[("d", OPAQUE), ("d/kept", file("1")), ("d/new", file("3"))]);
    assert_eq!(said(&before, &after, &before).unwrap(), ["- d", "- d/gone", "d/", "d/kept", "d/new"]);
    let removed = tree(&[("d", Kind::Whiteout)]);
    assert_eq!(said(&before, &removed, &before).unwrap(), ["- d", "- d/gone", "- d/kept"]);
    let stranger = tree(&[("d", FOLDER), ("d/kept", file("1")), ("d/gone", file("2")), ("d/x", file("4"))]);
    assert_eq!(said(&before, &removed, &stranger), Err("d/x".to_owned()));
}

#[test]
fn what_another_tool_put_back_is_no_conflict() {
    let name = |text: &str| RelPath::from_bytes(text.as_bytes()).unwrap();
    let (before, after) = (tree(&[]), tree(&[("a", file("whole")), ("b", Kind::Whiteout)]));
    let now = tree(&[("a", file("half"))]);
    assert_eq!(said(&before, &after, &now), Err("a".to_owned()));
    let restored = Restored::from([(name("a"), Some(file("half"))), (name("b"), None)]);
    let puts = plan(&before, &after, &now, &restored).unwrap();
    assert_eq!(puts, [Put::Remove(name("b")), Put::File(name("a"), 0o755, Attributes::default())]);
    let gone = tree(&[("a", file("half")), ("b", Kind::Whiteout)]);
    assert_eq!(
        plan(&before, &after, &gone, &restored).unwrap(),
        [Put::File(name("a"), 0o755, Attributes::default())]
    );
}

#[test]
fn the_attributes_that_a_tool_gave_come_with_the_files() {
    let tagged = |value: &str| {
        let set = [(b"user.tag".to_vec(), value.as_bytes().to_vec())];
        Attributes::new(set.into()).unwrap()
    };
    let with = |value: &str| {
        let mut tree = tree(&[("a", file("1")), ("d", FOLDER)]);
        tree.entries.values_mut().for_each(|entry| entry.attributes = tagged(value));
        tree
    };
    let (before, after) = (with("1"), with("2"));
    let puts = plan(&before, &after, &before, &Restored::default()).unwrap();
    let path = |text: &str| RelPath::from_bytes(text.as_bytes()).unwrap();
    assert_eq!(puts, [Put::Folder(path("d"), 0o755, tagged("2")), Put::File(path("a"), 0o755, tagged("2"))]);
    let said: Vec<Value> = deltas(&puts[0], Path::new("/")).unwrap().map(|delta| delta.unwrap()).collect();
    assert_eq!(
        said,
        [json!({ "folder": "d", "mode": 0o755, "attributes": [["user.tag", { "$bytes": "Mg==" }]] })]
    );
}
