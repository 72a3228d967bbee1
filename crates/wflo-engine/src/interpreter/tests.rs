use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// A home folder with an interpreter, a project in it, and wflo's data in that.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let world = World { folder: tempfile::tempdir().unwrap() };
        world.write("pyenv/3.11.9/lib/python3.11/os.py", "");
        world.program("pyenv/3.11.9/bin/python3.11");
        world.write("pyenv/3.11.9/.env", "SECRET");
        world.write("home/project/workflow.py", "");
        world.write("home/project/.wflo/wflo.db", "");
        world
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        std::fs::write(self.path(path), text).unwrap();
    }

    fn program(&self, path: &str) {
        self.write(path, "#!/bin/sh\n");
        std::fs::set_permissions(self.path(path), PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// A virtual environment whose configuration names `home`, and whose link leads to `target`.
    fn environment(&self, at: &str, home: &Path, target: &Path) -> PathBuf {
        self.write(&format!("{at}/pyvenv.cfg"), &format!("home = {}\n", home.display()));
        std::fs::create_dir_all(self.path(&format!("{at}/bin"))).unwrap();
        std::fs::create_dir_all(self.path(&format!("{at}/lib/python3.11/site-packages"))).unwrap();
        let program = self.path(&format!("{at}/bin/python"));
        symlink(target, &program).unwrap();
        program
    }

    fn around(&self) -> Surroundings {
        Surroundings {
            home: Some(self.path("home")),
            ..Surroundings::new(&self.path("home/project"), Some(&self.path("home/project/.wflo")), |_| None)
        }
    }

    fn read(&self, program: &Path) -> Interpreter {
        Interpreter::read(program, &self.around()).unwrap()
    }

    fn paths<const N: usize>(&self, paths: [&str; N]) -> Vec<PathBuf> {
        paths.map(|path| self.path(path)).to_vec()
    }
}

#[test]
fn parts_of_an_environment_and_of_its_interpreter_are_shown_and_no_more() {
    let world = World::new();
    let base = world.path("pyenv/3.11.9/bin");
    let program = world.environment("venvs/v", &base, &base.join("python3.11"));
    world.write("venvs/v/pip.conf", "SECRET");
    world.write("venvs/v/lib/python3.11/site-packages/other.pth", &world.path("home").display().to_string());
    let read = world.read(&program);
    assert_eq!(read.program, program);
    let expected =
        ["venvs/v/bin", "venvs/v/lib", "venvs/v/pyvenv.cfg", "pyenv/3.11.9/bin", "pyenv/3.11.9/lib"];
    assert_eq!(read.folders, world.paths(expected));
}

#[test]
fn a_project_s_environment_shows_the_interpreter_and_leaves_itself_to_the_workspace() {
    let world = World::new();
    let base = world.path("pyenv/3.11.9/bin");
    let program = world.environment("home/project/.venv", &base, &base.join("python3.11"));
    assert_eq!(world.read(&program).folders, world.paths(["pyenv/3.11.9/bin", "pyenv/3.11.9/lib"]));
    let alone = Surroundings { alone: true, ..world.around() };
    let read = Interpreter::read(&program, &alone).unwrap();
    assert!(read.folders.contains(&world.path("home/project/.venv/lib")), "{read:?}");
}

#[test]
fn a_hostile_environment_shows_nothing_of_the_host() {
    let world = World::new();
    for secret in ["home/bin/python", "home/.ssh/id_rsa", "other/.venv/bin/python", "other/lib/secret"] {
        world.program(secret);
    }
    world.write("other/.venv/pyvenv.cfg", "home = /usr/bin\n");
    // Whatever the configuration says, and wherever the program leads.
    for (home, target) in [
        ("home/bin", "home/bin/python"),
        ("home/.ssh", "home/.ssh/id_rsa"),
        ("other/.venv/bin", "other/.venv/bin/python"),
        ("other/bin", "other/lib/secret"),
        ("home/project/.wflo/bin", "home/bin/python"),
    ] {
        let _ = std::fs::remove_dir_all(world.path("home/project/.venv"));
        let program = world.environment("home/project/.venv", &world.path(home), &world.path(target));
        assert_eq!(world.read(&program).folders, Vec::<PathBuf>::new(), "{home}");
    }
    // The library of a home folder makes it no installation that may be shown.
    world.write("home/lib/python3.11/os.py", "");
    let _ = std::fs::remove_dir_all(world.path("home/project/.venv"));
    let (home, target) = (world.path("home/bin"), world.path("home/bin/python"));
    let program = world.environment("home/project/.venv", &home, &target);
    let shown = world.read(&program).folders;
    assert!(shown.iter().all(|part| part.parent() != Some(&world.path("home/project"))), "{shown:?}");
    assert!(
        !shown.contains(&world.path("home")) && !shown.contains(&world.path("home/project")),
        "{shown:?}"
    );
}

#[test]
fn places_that_are_never_shown() {
    let world = World::new();
    symlink(world.path("home"), world.path("link-to-home")).unwrap();
    symlink("/", world.path("link-to-root")).unwrap();
    world.write("outside/x", "");
    let around = world.around();
    assert!(around.may_show(&world.path("outside")));
    for never in [
        "",
        "home",
        "home/project",
        "home/project/workflow.py",
        "home/project/.wflo",
        "link-to-home",
        "link-to-root",
    ] {
        assert!(!around.may_show(&world.path(never)), "{never}");
    }
    for never in ["/", "/home", "/root", "relative"] {
        assert!(!around.may_show(Path::new(never)), "{never}");
    }
    let alone = Surroundings { alone: true, ..world.around() };
    assert!(
        !alone.may_show(&world.path("home/project")) && !alone.may_show(&world.path("home/project/.wflo"))
    );
}

#[test]
fn of_the_operators_python_path_only_the_sdk_is_shown() {
    let world = World::new();
    let program = world.path("pyenv/3.11.9/bin/python3.11");
    world.write("repo/python/wflo/__init__.py", "");
    world.write("repo/python/.env", "SECRET");
    let listed = std::env::join_paths(world.paths(["home/project", "repo/python"])).unwrap();
    let around = Surroundings { python_path: Some(listed), ..world.around() };
    let read = Interpreter::read(&program, &around).unwrap();
    assert_eq!(read.sdk_path, Some(world.path("repo/python")));
    assert!(read.folders.contains(&world.path("repo/python/wflo")));
    assert!(
        !read.folders.contains(&world.path("repo/python"))
            && !read.folders.contains(&world.path("home/project"))
    );
}

#[test]
fn a_link_outside_of_any_prefix_is_followed() {
    let world = World::new();
    std::fs::create_dir_all(world.path("home/.local/bin")).unwrap();
    let link = world.path("home/.local/bin/python3");
    symlink(world.path("pyenv/3.11.9/bin/python3.11"), &link).unwrap();
    let read = world.read(&link);
    assert_eq!(read.program, world.path("pyenv/3.11.9/bin/python3.11"));
    assert_eq!(read.folders, world.paths(["pyenv/3.11.9/bin", "pyenv/3.11.9/lib"]));
}

#[test]
fn what_packages_point_at_is_said_and_not_shown() {
    let world = World::new();
    let base = world.path("pyenv/3.11.9/bin");
    let program = world.environment("venvs/v", &base, &base.join("python3.11"));
    let packages = "venvs/v/lib/python3.11/site-packages";
    world.write("other/pkg/__init__.py", "");
    world.write("edited/src/x.py", "");
    let lines = [world.path("other"), world.path("home/project")].map(|p| p.display().to_string()).join("\n");
    world.write(
        &format!("{packages}/a.pth"),
        &format!("# {}\nimport os\n{lines}\n", world.path("home").display()),
    );
    let url = format!(
        r#"{{"url": "file://{}", "dir_info": {{"editable": true}}}}"#,
        world.path("edited").display()
    );
    world.write(&format!("{packages}/x-1.dist-info/direct_url.json"), &url);
    let read = world.read(&program);
    let found = |ro: &[(PathBuf, PathBuf)]| elsewhere(&read, &world.around(), ro);
    assert_eq!(found(&[]), world.paths(["edited", "other"]));
    let ro = [(world.path("other"), world.path("other"))];
    assert_eq!(found(&ro), world.paths(["edited"]));
}

#[test]
fn a_configuration_that_is_a_fifo_or_endless_is_not_waited_for() {
    let world = World::new();
    let base = world.path("pyenv/3.11.9/bin");
    let program = world.environment("venvs/v", &base, &base.join("python3.11"));
    let config = world.path("venvs/v/pyvenv.cfg");
    std::fs::remove_file(&config).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &config,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let _ = Interpreter::read(&program, &world.around());
}
