//! Layers that a retry takes over: made on one seal, laid over another, and judged by the first.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "workspace_support/project.rs"]
mod project;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use project::{Project, rel, tree, write};
use rustix::fs::{CWD, FileType, Mode};
use wflo_sandbox::workspace::{
    ApplyOptions, Bounds, Confirmed, ConflictReason, Digest, Layer, Outdated, Report, TakenOver, View,
    WorkspaceError, apply, capture, diff, outdated,
};

/// What a step writes: an upper directory.
struct Upper(PathBuf);

impl Upper {
    fn writes(&self, path: &str, content: &str) {
        write(&self.0.join(path), content);
    }

    fn removes(&self, path: &str) {
        fs::create_dir_all(self.0.join(path).parent().unwrap()).unwrap();
        rustix::fs::mknodat(CWD, self.0.join(path), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    }
}

fn layer(project: &Project, fill: impl FnOnce(&Upper)) -> Layer {
    let upper = tempfile::tempdir_in(project.home.path()).unwrap();
    fill(&Upper(upper.path().to_owned()));
    let open = fs::File::open(upper.path()).unwrap();
    capture(open.as_fd(), &project.store, &Bounds::default()).unwrap().unwrap().layer
}

fn with(view: &View, layers: &[&Layer]) -> View {
    View { layers: layers.iter().copied().cloned().collect(), ..view.clone() }
}

fn of(layers: &[&Layer]) -> TakenOver {
    TakenOver { layers: layers.iter().map(|layer| layer.id).collect(), parts: Vec::new() }
}

/// A new run on the project as it is, with what it takes over of `old`.
fn retry(project: &Project, old: &View, taken: &TakenOver) -> (View, Vec<String>) {
    let new = project.view();
    let found = outdated(&project.store, old, &new, taken).unwrap();
    let open = |id: &Digest| Layer::open(&project.store, id).unwrap();
    let new = View { layers: taken.layers.iter().map(open).collect(), ..new };
    match found {
        None => (new, Vec::new()),
        Some(Outdated { earlier, files, .. }) => {
            let named = files.into_iter().map(|(path, _)| path.to_string()).collect();
            (new.begun_on(&project.store, Some(&earlier)).unwrap(), named)
        }
    }
}

fn applied(project: &Project, view: &View) -> Report {
    let options = ApplyOptions { confirmed: Confirmed::All, ..ApplyOptions::default() };
    apply(view, &project.store, &project.path(), &project.hidden(), &options).unwrap()
}

fn conflicts(report: &Report) -> Vec<(String, ConflictReason)> {
    report.conflicts.iter().map(|one| (one.path.to_string(), one.reason)).collect()
}

fn reads(project: &Project, path: &str) -> String {
    fs::read_to_string(project.path().join(path)).unwrap_or_else(|error| error.to_string())
}

fn one_project(files: &[(&str, &str)]) -> Project {
    let project = Project::new();
    for (path, content) in files {
        project.write(path, content);
    }
    project
}

#[test]
fn a_file_that_was_edited_between_the_two_runs_is_a_conflict() {
    let project = one_project(&[("notes", "l1\n"), ("other", "1"), ("own", "1")]);
    let old = project.view();
    let one = layer(&project, |step| {
        step.writes("notes", "l1\nagent\n");
        step.writes("other", "agent");
    });
    project.write("notes", "l1\nUSER WORK\n");
    project.write("own", "user");
    let (new, named) = retry(&project, &old, &of(&[&one]));
    assert_eq!(named, ["notes"], "what nobody changed, and what no layer holds, is not named");
    let report = applied(&project, &new);
    assert_eq!(conflicts(&report), [("notes".to_owned(), ConflictReason::TakenOver)]);
    assert_eq!(reads(&project, "notes"), "l1\nUSER WORK\n");
    assert_eq!(reads(&project, "other"), "1", "nothing at all is written");
    // The diff is what the step did, and not what it would undo.
    let changes = diff(&new, &project.store).unwrap();
    let notes = changes.iter().find(|change| change.path == rel("notes")).unwrap();
    let text = notes.text(&project.store, &Default::default()).unwrap().body;
    assert!(text.contains("+agent") && !text.contains("USER WORK"), "{text}");
    // Back to what the step saw, there is no conflict any more.
    project.write("notes", "l1\n");
    assert_eq!(conflicts(&applied(&project, &new)), []);
    assert_eq!(reads(&project, "notes"), "l1\nagent\n");
}

#[test]
fn without_an_edit_of_what_is_taken_over_nothing_is_kept() {
    let project = one_project(&[("notes", "1"), ("own", "1")]);
    let old = project.view();
    let one = layer(&project, |step| step.writes("notes", "agent"));
    let same = outdated(&project.store, &old, &project.view(), &of(&[&one])).unwrap();
    assert!(same.is_none(), "the same seal");
    project.write("own", "user");
    let other = outdated(&project.store, &old, &project.view(), &of(&[&one])).unwrap();
    assert!(other.is_none(), "another file was edited");
    project.write("notes", "user");
    assert!(outdated(&project.store, &old, &project.view(), &of(&[])).unwrap().is_none());
}

#[test]
fn what_the_project_has_already_is_the_base_of_what_comes_after() {
    let project = one_project(&[("notes", "1")]);
    let old = project.view();
    let one = layer(&project, |step| step.writes("notes", "agent"));
    // The files of the first run were applied.
    project.write("notes", "agent");
    let (new, named) = retry(&project, &old, &of(&[&one]));
    assert_eq!(named, Vec::<String>::new());
    let two = layer(&project, |step| step.writes("notes", "agent, and two"));
    let report = applied(&project, &with(&new, &[&one, &two]));
    assert_eq!(conflicts(&report), []);
    assert_eq!(reads(&project, "notes"), "agent, and two");
}

#[test]
fn what_only_a_later_step_writes_is_judged_by_the_new_seal() {
    let project = one_project(&[("a", "1"), ("b", "1")]);
    let old = project.view();
    let one = layer(&project, |step| step.writes("a", "agent"));
    project.write("a", "user");
    project.write("b", "user");
    let (new, _) = retry(&project, &old, &of(&[&one]));
    let two = layer(&project, |step| step.writes("b", "user, and two"));
    let view = with(&new, &[&one, &two]);
    assert_eq!(conflicts(&applied(&project, &view)), [("a".to_owned(), ConflictReason::TakenOver)]);
    project.write("a", "1");
    assert_eq!(conflicts(&applied(&project, &view)), []);
    assert_eq!([reads(&project, "a"), reads(&project, "b")], ["agent", "user, and two"]);
}

#[test]
fn deletions_folders_links_and_modes_are_judged_by_what_their_step_saw() {
    let project = one_project(&[
        ("deleted", "1"),
        ("edited", "1"),
        ("gone", "1"),
        ("dir/inner", "1"),
        ("turned/inner", "1"),
        ("script", "1"),
        ("moded", "1"),
    ]);
    symlink("edited", project.path().join("link")).unwrap();
    let old = project.view();
    let one = layer(&project, |step| {
        step.removes("deleted");
        step.writes("gone", "agent");
        step.removes("dir");
        step.writes("turned", "a file now");
        step.writes("fresh", "agent");
        symlink("agent", step.0.join("link")).unwrap();
        step.writes("script", "agent");
        step.writes("moded", "1");
        fs::set_permissions(step.0.join("moded"), fs::Permissions::from_mode(0o755)).unwrap();
    });
    let at = |path: &str| project.path().join(path);
    project.write("deleted", "USER");
    fs::remove_file(at("gone")).unwrap();
    project.write("dir/of_the_user", "USER");
    project.write("turned/of_the_user", "USER");
    project.write("fresh", "USER");
    fs::remove_file(at("link")).unwrap();
    symlink("user", at("link")).unwrap();
    fs::set_permissions(at("script"), fs::Permissions::from_mode(0o755)).unwrap();
    project.write("moded", "USER");
    let before = tree(&project.path());
    let (new, named) = retry(&project, &old, &of(&[&one]));
    for path in ["deleted", "gone", "fresh", "link", "script", "moded", "dir/of_the_user"] {
        assert!(named.contains(&path.to_owned()), "{path} of {named:?}");
    }
    let report = applied(&project, &new);
    let found: Vec<String> = conflicts(&report).into_iter().map(|(path, _)| path).collect();
    for path in ["deleted", "gone", "fresh", "link"] {
        assert!(found.contains(&path.to_owned()), "{path} of {found:?}");
    }
    for path in ["dir/of_the_user", "script", "moded", "dir/inner"] {
        assert!(!found.contains(&path.to_owned()), "{path} of {found:?}");
    }
    assert_eq!(tree(&project.path()), before);
    // All that is in dispute is settled the user's way: then the rest comes in, and no file of the user goes.
    for (path, content) in [("deleted", "1"), ("gone", "1")] {
        project.write(path, content);
    }
    for path in ["fresh", "link"] {
        fs::remove_file(at(path)).unwrap();
    }
    symlink("edited", at("link")).unwrap();
    fs::remove_file(at("turned/of_the_user")).unwrap();
    let report = applied(&project, &new);
    assert_eq!(conflicts(&report), []);
    assert_eq!(reads(&project, "dir/of_the_user"), "USER");
    assert!(!at("dir/inner").exists() && !at("deleted").exists());
    assert_eq!(reads(&project, "moded"), "USER", "only its mode was changed by the step");
    let mode = |path: &str| fs::metadata(at(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("script"), mode("moded")), (0o755, 0o755));
    assert_eq!(reads(&project, "script"), "agent", "and only the content of this one");
}

#[test]
fn a_path_that_a_retry_of_a_retry_takes_over_keeps_its_first_base() {
    let project = one_project(&[("a", "1"), ("b", "1")]);
    let old = project.view();
    let one = layer(&project, |step| step.writes("a", "agent"));
    project.write("a", "USER");
    let (second, _) = retry(&project, &old, &of(&[&one]));
    let two = layer(&project, |step| step.writes("b", "two"));
    // Nothing was edited between the second and the third: the first edit still counts.
    let (third, named) = retry(&project, &second, &of(&[&one, &two]));
    assert_eq!(named, ["a"]);
    assert_eq!(conflicts(&applied(&project, &third)), [("a".to_owned(), ConflictReason::TakenOver)]);
    project.write("b", "USER");
    let (fourth, named) = retry(&project, &third, &of(&[&one, &two]));
    assert_eq!(named, ["a", "b"]);
    let found = conflicts(&applied(&project, &fourth));
    let both = ["a", "b"].map(|path| (path.to_owned(), ConflictReason::TakenOver));
    assert_eq!(found, both);
    // Without the step whose file it was, there is nothing to be told apart.
    let (fifth, named) = retry(&project, &third, &of(&[&two]));
    assert_eq!(named, ["b"]);
    assert_eq!(conflicts(&applied(&project, &fifth)).len(), 1);
}

#[test]
fn what_is_put_back_of_a_step_that_goes_on_is_judged_by_what_it_was_made_on() {
    let project = one_project(&[("tool", "1"), ("step", "1"), ("dir/inner", "1")]);
    let old = project.view();
    let before = layer(&project, |step| step.writes("step", "step"));
    let after = layer(&project, |step| {
        step.writes("step", "step");
        step.writes("tool", "tool");
        step.removes("dir");
    });
    for path in ["tool", "step", "dir/inner"] {
        project.write(path, "USER");
    }
    let parts = vec![(Some(before.id), Some(after.id))];
    let (new, named) = retry(&project, &old, &TakenOver { layers: Vec::new(), parts });
    assert_eq!(named, ["dir/inner", "tool"], "the step's own file is made anew on the new seal");
    // As the step leaves it in the end.
    let found = conflicts(&applied(&project, &with(&new, &[&after])));
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["dir/inner", "tool"]);
    // As long as it has put nothing back it has changed nothing.
    assert_eq!(diff(&new, &project.store).unwrap(), []);
}

#[test]
fn a_rollback_of_a_retry_takes_no_edit_of_before_it_for_a_state_of_the_run() {
    let project = one_project(&[("a", "1")]);
    let old = project.view();
    let one = layer(&project, |step| step.writes("a", "agent"));
    project.write("a", "USER");
    let (new, _) = retry(&project, &old, &of(&[&one]));
    let two = layer(&project, |step| step.writes("a", "agent, and two"));
    // Back to before the second step: what the user wrote is neither's.
    let back = View { undone: vec![two.clone()], ..with(&new, &[&one]) };
    assert_eq!(conflicts(&applied(&project, &back)).len(), 1);
    project.write("a", "agent, and two");
    assert_eq!(conflicts(&applied(&project, &back)), []);
    assert_eq!(reads(&project, "a"), "agent");
    // Back to the beginning: the project as it was submitted for the retry.
    let back = View { undone: vec![one, two], ..with(&new, &[]) };
    assert_eq!(conflicts(&applied(&project, &back)), []);
    assert_eq!(reads(&project, "a"), "USER");
    project.write("a", "1");
    assert_eq!(applied(&project, &back).applied, [], "what was there before the retry is no state of it");
    assert_eq!(reads(&project, "a"), "1");
}

#[test]
fn how_it_stood_is_kept_for_as_long_as_a_run_names_it_and_no_longer() {
    let project = one_project(&[("a", "1"), ("large", "x")]);
    let old = project.view();
    let one = layer(&project, |step| step.writes("a", "agent"));
    project.write("a", "USER");
    let new = project.view();
    let found = outdated(&project.store, &old, &new, &of(&[&one])).unwrap().unwrap();
    let (earlier, seal) = (found.earlier, new.sealed.id);
    drop((old, new));
    let collect = |wanted: Vec<Digest>| {
        project.store.collect(Duration::from_secs(5), || Ok::<_, WorkspaceError>(wanted)).unwrap()
    };
    // The pin alone keeps it until the run is recorded.
    collect(vec![seal, one.id]);
    let view = || View::open(&project.store, &seal, &[one.id]);
    view().unwrap().begun_on(&project.store, Some(&earlier)).unwrap();
    drop(found);
    collect(vec![seal, one.id, earlier]);
    let kept = view().unwrap().begun_on(&project.store, Some(&earlier)).unwrap();
    assert_eq!(conflicts(&applied(&project, &kept)).len(), 1, "the old seal is gone, and not needed");
    let text = diff(&kept, &project.store).unwrap()[0].text(&project.store, &Default::default()).unwrap();
    assert!(text.body.contains("-1"), "its content is there: {}", text.body);
    collect(vec![seal, one.id]);
    let gone = view().unwrap().begun_on(&project.store, Some(&earlier));
    assert!(matches!(gone, Err(WorkspaceError::Missing { .. })));
}

#[test]
fn a_change_that_nobody_undid_is_there_for_a_path_below_what_was_a_file() {
    let project = one_project(&[("thing", "a file")]);
    let old = project.view();
    let one = layer(&project, |step| step.writes("thing", "agent"));
    fs::remove_file(project.path().join("thing")).unwrap();
    project.write("thing/inner", "USER");
    let (new, _) = retry(&project, &old, &of(&[&one]));
    let found = applied(&project, &new);
    assert_eq!(conflicts(&found), [("thing".to_owned(), ConflictReason::TakenOver)]);
    assert!(Path::new(&project.path().join("thing/inner")).exists());
}
