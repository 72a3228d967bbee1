use std::time::Duration;

use super::super::super::hidden::HideRules;
use super::super::hidden_below;
use super::*;

struct World {
    _places: (tempfile::TempDir, tempfile::TempDir),
    folder: PathBuf,
    store: Store,
    rules: HideRules,
}

impl World {
    fn new() -> World {
        let places = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = places.0.path().canonicalize().unwrap();
        for inner in ["lib/deep/er", "bin"] {
            fs::create_dir_all(folder.join(inner)).unwrap();
        }
        for (file, text) in [("lib/a.py", "pass"), ("lib/.env", "KEY=1"), ("lib/deep/.npmrc", "color=true")] {
            fs::write(folder.join(file), text).unwrap();
        }
        let store = Store::open(places.1.path()).unwrap();
        World { _places: places, folder, store, rules: HideRules::default() }
    }

    /// What is hidden, and how many folders were listed to know it.
    fn look(&self) -> (Vec<String>, usize) {
        let hidden = Hidden::new(&self.folder, &self.rules).unwrap();
        let root = beneath::open_root(&self.folder).unwrap();
        let before = beneath::listings();
        // As if everything had settled: what a test changes it changes in another tick.
        std::thread::sleep(Duration::from_millis(20));
        let later = || kept::clock(&self.store).ok().map(|now| now + 2 * kept::SETTLED);
        let mut found = hidden_by(&self.folder, &root, &hidden, &self.store, later).unwrap();
        let listed = beneath::listings() - before;
        let mut afresh =
            hidden_below(&self.folder, &root, &RelPath::root(), &hidden, &std::collections::HashSet::new())
                .unwrap();
        found.sort();
        afresh.sort();
        assert_eq!(found, afresh, "as a look that remembers nothing");
        (found.iter().map(ToString::to_string).collect(), listed)
    }

    fn remember(&self) {
        self.look();
        assert_eq!(self.look().1, 0, "it is remembered");
    }
}

#[test]
fn an_unchanged_folder_is_not_listed_again() {
    let world = World::new();
    assert_eq!(world.look(), (vec!["lib/.env".to_owned()], 5));
    assert_eq!(world.look(), (vec!["lib/.env".to_owned()], 0));
}

#[test]
fn whatever_changes_is_seen() {
    type Change = fn(&Path);
    let changes: [(&str, Change, &[&str]); 8] = [
        (
            "a new file",
            |at| fs::write(at.join("lib/deep/er/.env"), "").unwrap(),
            &["lib/.env", "lib/deep/er/.env"],
        ),
        (
            "another name",
            |at| fs::rename(at.join("lib/a.py"), at.join("lib/id_rsa")).unwrap(),
            &["lib/.env", "lib/id_rsa"],
        ),
        ("nothing left", |at| fs::remove_file(at.join("lib/.env")).unwrap(), &[]),
        (
            "a new folder",
            |at| fs::create_dir_all(at.join("bin/.aws/sso")).unwrap(),
            &["bin/.aws", "lib/.env"],
        ),
        ("in the folder itself", |at| fs::write(at.join(".netrc"), "").unwrap(), &[".netrc", "lib/.env"]),
        (
            "a secret in what was harmless",
            |at| fs::write(at.join("lib/deep/.npmrc"), "//r/:_authToken=abcdef0123456789").unwrap(),
            &["lib/.env", "lib/deep/.npmrc"],
        ),
        (
            "a link in the place of a folder",
            |at| {
                fs::rename(at.join("lib"), at.join("bin/lib")).unwrap();
                std::os::unix::fs::symlink("bin/lib", at.join("lib")).unwrap();
            },
            &["bin/lib/.env"],
        ),
        (
            "another folder of the same name",
            |at| {
                fs::remove_dir_all(at.join("lib")).unwrap();
                fs::create_dir(at.join("lib")).unwrap();
                fs::write(at.join("lib/credentials"), "").unwrap();
            },
            &["lib/credentials"],
        ),
    ];
    for (what, change, expected) in changes {
        let world = World::new();
        world.remember();
        change(&world.folder);
        assert_eq!(world.look().0, expected, "{what}");
    }
}

#[test]
fn nothing_is_remembered_where_names_do_not_decide() {
    let mut world = World::new();
    world.remember();
    let database = world.folder.parent().unwrap().join(format!("{}.db", std::process::id()));
    fs::hard_link(world.folder.join("lib/a.py"), &database).unwrap();
    world.rules.databases.push(database.clone());
    let (found, listed) = world.look();
    fs::remove_file(database).unwrap();
    assert_eq!((found, listed), (vec!["lib/.env".to_owned(), "lib/a.py".to_owned()], 5));
    for rules in [
        HideRules { globs: vec!["*.py".to_owned()], ..HideRules::default() },
        HideRules { databases: vec![world.folder.join("lib/a.py")], ..HideRules::default() },
    ] {
        world.rules = rules;
        assert_eq!(world.look(), (vec!["lib/.env".to_owned(), "lib/a.py".to_owned()], 5));
    }
}

#[test]
fn what_has_just_changed_is_not_remembered() {
    let stamp = |changed| Stamp { device: 1, mount: 2, inode: 3, changed };
    let inner = RelPath::from_bytes(b"inner").unwrap();
    let look = Look { root: Some(stamp(0)), folders: vec![(inner, stamp(7))], ..Look::default() };
    assert!(!look.is_settled(7 + kept::SETTLED), "a change in the same tick would not show");
    assert!(look.is_settled(8 + kept::SETTLED));
    assert!(!Look::default().is_settled(Nanos::MAX), "nothing was seen");
}

#[test]
fn what_is_damaged_or_anothers_does_not_count() {
    let world = World::new();
    world.remember();
    let cache = world.store.folder("cache");
    let file = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    let body = String::from_utf8(whole[..whole.len() - 32].to_vec()).unwrap();
    let sealed = |body: &str| [body.as_bytes(), Digest::of(body.as_bytes()).as_bytes()].concat();
    let kept: serde_json::Value = serde_json::from_str(&body).unwrap();
    let with = |change: fn(&mut serde_json::Value)| {
        let mut other = kept.clone();
        change(&mut other);
        assert_ne!(other, kept);
        sealed(&other.to_string())
    };
    for other in [
        whole[..whole.len() - 1].to_vec(),
        sealed("{}"),
        with(|kept| kept["origin"]["size"] = 1.into()),
        with(|kept| kept["origin"]["program"]["changed"] = 1.into()),
        with(|kept| kept["origin"]["version"] = "0".into()),
        with(|kept| kept["origin"]["boot"] = "another".into()),
        with(|kept| kept["look"]["root"]["mount"] = 0.into()),
        with(|kept| kept["look"]["folders"][0][1]["mount"] = 0.into()),
        with(|kept| kept["folder"] = "/".into()),
    ] {
        fs::write(&file, &other).unwrap();
        assert_eq!(world.look().1, 5, "{}", String::from_utf8_lossy(&other));
    }
    fs::write(&file, sealed(&body)).unwrap();
    assert_eq!(world.look().1, 0);
}

#[test]
fn what_cannot_be_looked_into_is_hidden_and_never_remembered() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let deep = world.folder.join("lib/deep");
    fs::write(deep.join("er/.env"), "").unwrap();
    fs::set_permissions(&deep, fs::Permissions::from_mode(0o000)).unwrap();
    let (found, _) = world.look();
    let again = world.look();
    fs::set_permissions(&deep, fs::Permissions::from_mode(0o755)).unwrap();
    // Root looks into everything.
    let expected = match rustix::process::geteuid().is_root() {
        true => (vec!["lib/.env".to_owned(), "lib/deep/er/.env".to_owned()], 0),
        false => (vec!["lib/.env".to_owned(), "lib/deep".to_owned()], 3),
    };
    assert_eq!((found, again.1), expected);
    assert_eq!(world.look().0, ["lib/.env", "lib/deep/er/.env"]);
}

/// A sandbox sees what lies beneath a mount.
#[test]
fn what_is_mounted_in_the_folder_is_hidden_and_never_remembered() {
    use rustix::mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
    };
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // SAFETY: nothing of this thread relies on the mounts that it shares with the others.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    let gone = |at: &Path| unmount(at, UnmountFlags::empty()).unwrap();
    let world = World::new();
    world.remember();
    let deep = world.folder.join("lib/deep");
    mount("none", &deep, "tmpfs", MountFlags::empty(), None).unwrap();
    for _ in 0..2 {
        assert_eq!(world.look(), (vec!["lib/.env".to_owned(), "lib/deep".to_owned()], 3));
    }
    gone(&deep);
    world.remember();
    // The same folder by another mount: nothing in it tells.
    mount_bind(&deep, &deep).unwrap();
    assert_eq!(world.look().0, ["lib/.env", "lib/deep"]);
    gone(&deep);
    world.remember();
    let at = deep.join(".npmrc");
    mount_bind(world.folder.join("lib/a.py"), &at).unwrap();
    assert_eq!(world.look().0, ["lib/.env", "lib/deep/.npmrc"]);
    gone(&at);
    // A file that is known by its place has another name where its device is mounted twice.
    let mut world = World::new();
    let elsewhere = tempfile::tempdir().unwrap();
    mount_bind(world.folder.join("lib"), elsewhere.path()).unwrap();
    world.rules.databases.push(elsewhere.path().join("a.py"));
    for _ in 0..2 {
        assert_eq!(world.look(), (vec!["lib/.env".to_owned(), "lib/a.py".to_owned()], 5));
    }
    gone(elsewhere.path());
}
