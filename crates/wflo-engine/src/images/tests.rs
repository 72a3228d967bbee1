use super::*;
use wflo_sandbox::workspace::{Hidden, HideRules};

fn requirements(project: &Path, lines: &[&str]) -> Requirements {
    let hidden = Hidden::new(project, &HideRules::default()).unwrap();
    let entries: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    Requirements::read(project, &entries, &hidden).unwrap()
}

fn identity(version: &str, abi: &str) -> identity::Identity {
    identity::Identity {
        program: "/usr/bin/python3.11".into(),
        version: version.to_owned(),
        tag: "cpython-311".to_owned(),
        abi: abi.to_owned(),
        platform: "linux-x86_64".to_owned(),
        libc: "glibc 2.36".to_owned(),
    }
}

fn record(key: &str, images: &Images) -> (Record, wflo_sandbox::workspace::Pin) {
    let upper = tempfile::tempdir().unwrap();
    std::fs::write(upper.path().join("pyvenv.cfg"), key).unwrap();
    let opened = std::fs::File::open(upper.path()).unwrap();
    let bounds = wflo_sandbox::workspace::Bounds::default();
    let sealed = wflo_sandbox::workspace::capture(std::os::fd::AsFd::as_fd(&opened), images.store(), &bounds);
    let sealed = sealed.unwrap().unwrap();
    let record = Record {
        key: key.to_owned(),
        tree: sealed.layer.id,
        kind: Kind::Python,
        python: Some("/usr/bin/python3.11".into()),
        version: "3.11.2".to_owned(),
        requirements: Vec::new(),
        packages: Vec::new(),
        files: Vec::new(),
        left_out: Vec::new(),
        bytes: 1,
        at: jiff::Timestamp::UNIX_EPOCH,
    };
    (record, sealed.pin)
}

fn opened(images: &Images, key: &str) -> Option<(Record, Held)> {
    match images.look(key).unwrap() {
        store::Look::There(record, held) => Some((*record, held)),
        store::Look::Absent => None,
        store::Look::Busy => panic!("{key} is busy"),
    }
}

/// An image of this content under the first key.
fn published(content: &str, images: &Images) -> Record {
    let (made, pin) = record(content, images);
    let made = Record { key: KEYS[0].to_owned(), ..made };
    images.publish(&made, pin).unwrap();
    made
}

fn packages(record: &Record) -> Packages {
    Packages { key: record.key.clone(), tree: record.tree, sdk: None }
}

fn nothing() -> Result<Vec<Image>, ImageError> {
    Ok(Vec::new())
}

const KEYS: [&str; 3] = [
    "00000000000000000000000000000001",
    "00000000000000000000000000000002",
    "00000000000000000000000000000003",
];

#[test]
fn a_key_is_all_that_decides_what_is_installed() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = |lines: &[&str], index: Option<&str>, source_builds| Wanted {
        requirements: requirements(folder.path(), lines),
        index: Index::read(index, &[], &[]).unwrap(),
        source_builds,
        disk: USUAL_DISK,
    };
    let usual = wanted(&["idna==3.7"], None, false);
    let key = |identity: &identity::Identity, wanted: &Wanted| key_of(identity, wanted).unwrap();
    let one = key(&identity("3.11.2", "a"), &usual);
    assert_eq!(one, key(&identity("3.11.2", "a"), &wanted(&["idna==3.7"], Some(DEFAULT_INDEX), false)));
    let others = [
        key(&identity("3.11.3", "a"), &usual),
        key(&identity("3.11.2", "b"), &usual),
        key(&identity("3.11.2", "a"), &wanted(&["idna==3.8"], None, false)),
        key(&identity("3.11.2", "a"), &wanted(&["idna==3.7"], None, true)),
        key(&identity("3.11.2", "a"), &wanted(&["idna==3.7"], Some("https://other.example/simple"), false)),
    ];
    assert!(others.iter().all(|other| *other != one), "{others:?}");
}

#[test]
fn an_image_is_there_once_its_record_is_and_stays_while_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open_in(folder.path()).unwrap();
    for key in KEYS {
        let claim = images.claim(key).unwrap().unwrap();
        assert!(images.claim(key).unwrap().is_none(), "one builds at a time");
        let (record, pin) = record(key, &images);
        assert!(opened(&images, "00000000000000000000000000000009").is_none());
        images.publish(&record, pin).unwrap();
        assert_eq!(opened(&images, key).unwrap().0, record);
        drop(claim);
    }
    let held = opened(&images, KEYS[0]).unwrap();
    assert!(images.claim(KEYS[0]).unwrap().is_some(), "it may be built again while it is used");
    let all = KEYS.map(str::to_owned);
    let waiting = packages(&opened(&images, KEYS[1]).unwrap().0);
    let needed = || Ok::<_, ImageError>(vec![waiting.image()]);
    let removed = images.remove(&all, needed).unwrap();
    let keys = |records: &[Record]| records.iter().map(|record| record.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&removed.records), [KEYS[2]]);
    assert_eq!(removed.busy.len(), 2);
    assert!(images.tree(&held.0).join("pyvenv.cfg").is_file());
    drop(held);
    let removed = images.remove(&all, nothing).unwrap();
    assert_eq!(removed.records.len(), 2);
    assert!(images.list().unwrap().is_empty());
}

#[test]
fn another_one_under_its_key_leaves_an_image_to_those_who_use_it() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open_in(folder.path()).unwrap();
    let old = published("old", &images);
    let held = opened(&images, KEYS[0]).unwrap();
    let new = published("new", &images);
    let collect = || drop(images.remove(&[], nothing).unwrap());
    collect();
    assert!(images.tree(&old).exists() && opened(&images, KEYS[0]).unwrap().0 == new);
    drop(held);
    collect();
    assert!(!images.tree(&old).exists() && images.tree(&new).exists());
}

#[test]
fn what_a_killed_build_leaves_is_no_image_and_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open_in(folder.path()).unwrap();
    let (record, pin) = record(KEYS[0], &images);
    drop(pin);
    std::fs::write(folder.path().join("images/made/.tmpX"), "half").unwrap();
    std::fs::write(folder.path().join("images/made").join(format!("{}.json", KEYS[1])), "{}").unwrap();
    assert!(opened(&images, KEYS[0]).is_none());
    assert!(images.look(KEYS[1]).is_err(), "damaged, and said");
    assert!(images.tree(&record).exists() && images.list().unwrap().is_empty());
    images.remove(&[], nothing).unwrap();
    assert!(!images.tree(&record).exists());
    assert!(opened(&images, KEYS[1]).is_none(), "what cannot be read is removed");
}

#[test]
fn a_run_that_waits_has_the_tree_that_it_began_with_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open_in(folder.path()).unwrap();
    let old = published("old", &images);
    let waiting = packages(&old);
    let new = published("new", &images);
    let needed = || Ok::<_, ImageError>(vec![waiting.image()]);
    images.remove(&[KEYS[0].to_owned()], needed).unwrap();
    assert!(images.tree(&old).exists() && images.tree(&new).exists());
    let shown = images.bind(&waiting).unwrap();
    assert_eq!(shown.source, images.tree(&old));
    let later = Images::open_in(folder.path()).unwrap();
    drop(images);
    later.remove(&[], nothing).unwrap();
    assert!(matches!(later.bind(&waiting), Err(ImageError::Gone { .. })));
}

#[test]
fn who_looks_waits_for_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open_in(folder.path()).unwrap();
    let (made, pin) = record(KEYS[0], &images);
    images.publish(&made, pin).unwrap();
    let asked = || {
        assert!(matches!(images.look(KEYS[0]).unwrap(), store::Look::Busy), "it is being removed");
        nothing()
    };
    let first = std::sync::atomic::AtomicBool::new(true);
    let once = || if first.swap(false, std::sync::atomic::Ordering::Relaxed) { asked() } else { nothing() };
    images.remove(&[KEYS[0].to_owned()], once).unwrap();
    assert!(opened(&images, KEYS[0]).is_none());
}

#[test]
fn what_is_hidden_in_the_folder_of_an_interpreter_is_hidden_from_builds() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open_in(&folder.path().join("state")).unwrap();
    let base = folder.path().join("base");
    std::fs::create_dir_all(base.join("lib/private")).unwrap();
    for name in [".env", "id_rsa", "plain.py"] {
        std::fs::write(base.join("lib/private").join(name), "x").unwrap();
    }
    let shown = shown::Shown::of(&[base], &HideRules::default(), images.store()).unwrap();
    let binds = shown.binds();
    let mask = binds[0].mask.as_ref().expect("something is hidden").join("lib/private");
    let is_masked = |name: &str| mask.join(name).symlink_metadata().is_ok();
    assert!(is_masked(".env") && is_masked("id_rsa") && !is_masked("plain.py"));
}

#[test]
fn a_key_that_came_with_a_run_is_a_key_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open_in(folder.path()).unwrap();
    for key in ["../../x", "", "0000000000000000000000000000000g", "/etc/passwd", "..", "a\u{1b}[31m"] {
        assert!(matches!(images.look(key), Err(ImageError::Gone { .. })), "{key}");
    }
}
