//! An apply that stops dead between a template of an environment and Git's index, by which it is judged.

use std::process::Command;

use super::*;

fn git(folder: &Path, args: &[&str]) {
    let mut git = Command::new("git");
    git.current_dir(folder).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    assert!(git.args(args).output().unwrap().status.success(), "{args:?}");
}

/// A run that changed two templates and committed both: one comes before `.git`, the other after it.
fn committed() -> Scene {
    let home = tempfile::tempdir().unwrap();
    let (project, upper) = (home.path().join("project"), home.path().join("upper"));
    for path in TEMPLATES {
        put(&project.join(path), "old");
    }
    git(&project, &["init", "--quiet"]);
    git(&project, &["add", "--all"]);
    let store = Store::open(home.path().join("state")).unwrap();
    let sealed = seal(&project, &hidden(&project), &store).unwrap();
    assert!(sealed.hidden.is_empty(), "{:?}", sealed.hidden);
    // What the run has made of the index is made of a copy.
    let copy = home.path().join("copy");
    fs::create_dir(&copy).unwrap();
    let copied = Command::new("cp").arg("-a").arg(project.join(".git")).arg(&copy).status().unwrap();
    assert!(copied.success());
    for path in TEMPLATES {
        put(&copy.join(path), "new");
        put(&upper.join(path), "new");
    }
    git(&copy, &["add", "--all"]);
    fs::create_dir(upper.join(".git")).unwrap();
    fs::copy(copy.join(".git/index"), upper.join(".git/index")).unwrap();
    Scene::of(home, store, sealed)
}

const TEMPLATES: [&str; 2] = [".env.example", "web/sample.env"];

fn standing(scene: &Scene) -> Vec<Vec<u8>> {
    TEMPLATES.iter().chain(&[".git/index"]).map(|path| fs::read(scene.project.join(path)).unwrap()).collect()
}

#[test]
fn templates_and_the_index_that_has_them_come_and_go_together() {
    let scene = committed();
    let before = standing(&scene);
    let report = apply_all(&scene).unwrap();
    assert_eq!((report.applied.len(), report.hidden.len()), (3, 0), "{report:?}");
    let after = standing(&scene);
    assert!(before.iter().zip(&after).all(|(before, after)| before != after));
    for (direction, is_after) in [(Direction::Finish, true), (Direction::Undo, false)] {
        let mut points = 0;
        loop {
            let scene = committed();
            let before = standing(&scene);
            if !crash_at(&scene, points) {
                break;
            }
            let left = resume(&scene, direction).left_alone;
            assert!(left.is_empty(), "{direction:?} at {points}: {left:?}");
            let now = standing(&scene);
            assert_eq!(now == before, !is_after, "{direction:?} after a crash at point {points}");
            assert_eq!(now[..2] == after[..2], is_after, "{direction:?} after a crash at point {points}");
            points += 1;
        }
        assert!(points > 3, "only {points} crash points");
    }
}
