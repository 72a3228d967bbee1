use std::os::unix::fs::PermissionsExt;

use super::*;

/// A home folder with a project in it, and programs.
struct World {
    _root: tempfile::TempDir,
    home: PathBuf,
    project: PathBuf,
    path: Vec<PathBuf>,
}

impl Search for World {
    fn find(&self, name: &str) -> Option<PathBuf> {
        self.path.iter().map(|folder| folder.join(name)).find(|path| is_program(path))
    }

    fn folders(&self) -> Vec<PathBuf> {
        self.path.clone()
    }
}

impl World {
    fn new(path: &[&str]) -> World {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().canonicalize().unwrap().join("home/ada");
        let project = home.join("work/project");
        std::fs::create_dir_all(&project).unwrap();
        let path = path.iter().map(|folder| home.join(folder)).collect();
        World { _root: root, home, project, path }
    }

    fn program(&self, path: &str, text: &str) -> PathBuf {
        let path = self.home.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    fn around(&self) -> Surroundings {
        let data = self.project.join(".wflo");
        Surroundings::new(&self.project, Some(&data), |name| {
            (name == "HOME").then(|| self.home.clone().into_os_string())
        })
    }

    fn find(&self, name: &str) -> Result<Program, Failure> {
        Program::find(name, &self.project, self, &self.around())
    }

    fn below(&self, paths: &[PathBuf]) -> Vec<String> {
        let short = |path: &PathBuf| path.strip_prefix(&self.home).unwrap_or(path).display().to_string();
        let mut all: Vec<String> = paths.iter().map(short).collect();
        all.sort();
        all
    }
}

#[test]
fn what_the_toolchain_and_the_project_have_needs_nothing() {
    let world = World::new(&[]);
    let sh = Program::find("/bin/sh", &world.project, &world, &world.around()).unwrap();
    assert!(sh.shown.is_empty(), "{:?}", sh.shown);
    world.program("work/project/run.sh", "#!/bin/sh\n");
    std::os::unix::fs::symlink(world.project.join("run.sh"), world.home.join("run")).unwrap();
    let linked = world.find(&world.home.join("run").display().to_string()).unwrap();
    assert_eq!((linked.file, linked.shown), (world.project.join("run.sh"), vec![]));
    let own = world.find("./run.sh").unwrap();
    assert_eq!((own.file, own.shown), (world.project.join("run.sh"), vec![]));
}

#[test]
fn of_a_prefix_its_parts_are_shown_and_not_what_lies_beside() {
    let world = World::new(&[".nvm/versions/node/v22/bin"]);
    world.program(".nvm/versions/node/v22/bin/node", "\x7fELF");
    world.program(".nvm/versions/node/v22/.npmrc", "secret");
    std::fs::create_dir(world.home.join(".nvm/versions/node/v22/lib")).unwrap();
    let cli = world.program(".nvm/versions/node/v22/lib/node_modules/cli/cli.js", "#!/usr/bin/env node\n");
    std::os::unix::fs::symlink(&cli, world.home.join(".nvm/versions/node/v22/bin/cli")).unwrap();
    let found = world.find("cli").unwrap();
    let parts = [".nvm/versions/node/v22/bin", ".nvm/versions/node/v22/lib"];
    assert_eq!(world.below(&found.shown), parts);
    assert!(found.path.starts_with(&world.home.join(parts[0]).display().to_string()), "{}", found.path);
}

#[test]
fn a_script_finds_what_its_user_would_find_first() {
    let world = World::new(&["work/project/venv/bin"]);
    world.program("work/project/venv/bin/python3", "\x7fELF");
    let active = world.project.join("venv/bin").display().to_string();
    for name in ["/bin/sh", &format!("{active}/python3")] {
        let found = world.find(name).unwrap();
        assert!(found.path.starts_with(&active), "{name}: {}", found.path);
    }
}

#[test]
fn of_a_folder_that_is_everybodys_only_the_file_is_shown() {
    let world = World::new(&["bin", ".local/bin"]);
    world.program("bin/mine", "#!/bin/sh\n");
    world.program(".local/share/claude/versions/2", "\x7fELF");
    std::fs::create_dir_all(world.home.join(".local/bin")).unwrap();
    let target = world.home.join(".local/share/claude/versions/2");
    std::os::unix::fs::symlink(target, world.home.join(".local/bin/claude")).unwrap();
    assert_eq!(world.below(&world.find("mine").unwrap().shown), ["bin/mine"]);
    let claude = world.find("claude").unwrap();
    assert_eq!(world.below(&claude.shown), [".local/bin/claude", ".local/share/claude/versions/2"]);
    assert_eq!(claude.name, "claude");
}

#[test]
fn a_package_of_node_is_shown_with_those_beside_it() {
    let world = World::new(&["tools/node_modules/.bin", "bin"]);
    world.program("bin/node", "\x7fELF");
    let cli = world.program("tools/node_modules/@maker/cli/bin/cli.js", "#!/usr/bin/env node\n");
    world.program("tools/node_modules/@maker/cli-linux/cli", "\x7fELF");
    std::fs::create_dir_all(world.home.join("tools/node_modules/.bin")).unwrap();
    std::os::unix::fs::symlink(&cli, world.home.join("tools/node_modules/.bin/cli")).unwrap();
    assert_eq!(world.below(&world.find("cli").unwrap().shown), ["bin/node", "tools/node_modules"]);
    // Of packages within packages all that the outermost folder holds is needed.
    let inner = world.program("tools/node_modules/a/node_modules/b/cli.js", "#!/usr/bin/env node\n");
    let found = world.find(&inner.display().to_string()).unwrap();
    assert_eq!(world.below(&found.shown), ["bin/node", "tools/node_modules"]);
}

#[test]
fn the_interpreter_of_a_script_is_shown_with_it() {
    let world = World::new(&["bin"]);
    let python = world.home.join(".local/share/uv/tools/tool");
    world.program(".local/share/uv/tools/tool/bin/python3", "\x7fELF");
    let line = format!("#!{}\n", python.join("bin/python3").display());
    world.program("bin/tool", &line);
    let found = world.find("tool").unwrap();
    assert_eq!(world.below(&found.shown), [".local/share/uv/tools/tool/bin", "bin/tool"]);
    world.program("bin/broken", "#!/nowhere/interpreter\n");
    assert_eq!(world.find("broken").unwrap_err().code, NOT_FOUND.to_string());
}

#[test]
fn what_is_not_there_or_no_program_is_said_with_what_to_do() {
    let world = World::new(&["bin"]);
    std::fs::write(world.project.join("agent.py"), "").unwrap();
    let refused = |name: &str| world.find(name).unwrap_err();
    assert!(refused("nothing").hint.unwrap().contains("install it"));
    assert!(refused("./agent.py").hint.unwrap().contains("chmod +x"));
    assert!(refused("./other").message.contains("there is no program"));
    world.program("work/project/own", "#!/bin/sh\n");
    assert!(refused("own").hint.unwrap().contains("./own"));
}

#[test]
fn what_holds_a_home_or_wflos_data_is_never_shown() {
    let world = World::new(&["work/bin"]);
    // A prefix that holds the project: of it only the file.
    world.program("work/bin/near", "#!/bin/sh\n");
    assert_eq!(world.below(&world.find("near").unwrap().shown), ["work/bin/near"]);
    let path = world.program("work/project/.wflo/evil", "#!/bin/sh\n");
    std::os::unix::fs::symlink(path, world.home.join("evil")).unwrap();
    let name = world.home.join("evil").display().to_string();
    assert_eq!(world.find(&name).unwrap_err().code, NOT_SHOWN.to_string());
}

#[test]
fn what_a_file_of_the_project_leads_to_is_told_apart() {
    let world = World::new(&["bin", "other/bin"]);
    let other = world.program("other/bin/manage", "\x7fELF");
    std::fs::create_dir_all(world.home.join("other/lib")).unwrap();
    let parts = ["other/bin", "other/lib"];
    let led = |name: &str| {
        let found = world.find(name).unwrap();
        assert_eq!(found.led, found.shown, "{name}");
        world.below(&found.led)
    };
    world.program("work/project/path", &format!("#!{}\n", other.display()));
    assert_eq!(led("./path"), parts);
    world.program("work/project/name", "#!/usr/bin/env -S manage -u\n");
    assert_eq!(led("./name"), parts);
    std::os::unix::fs::symlink(&other, world.project.join("link")).unwrap();
    assert_eq!(led("./link"), parts);
    std::os::unix::fs::symlink(world.home.join("other"), world.project.join("folder")).unwrap();
    assert_eq!(led("folder/bin/manage"), parts);
    // By way of the project, to elsewhere.
    std::os::unix::fs::symlink(world.project.join("link"), world.home.join("round")).unwrap();
    let found = world.find(&world.home.join("round").display().to_string()).unwrap();
    assert_eq!(world.below(&found.led), parts);
    // Named by hand, and what that leads to.
    world.program("bin/mine", "#!/usr/bin/env manage\n");
    let found = world.find("mine").unwrap();
    assert_eq!(
        (world.below(&found.shown), found.led),
        (vec!["bin/mine".to_owned(), parts[0].to_owned(), parts[1].to_owned()], vec![])
    );
}

#[test]
fn an_interpreter_that_the_users_search_path_finds_is_named_by_them() {
    let world = World::new(&["envs/own/bin", "bin"]);
    world.program("envs/own/bin/python3", "\x7fELF");
    world.program("work/project/agent.py", "#!/usr/bin/env python3\n");
    let typed = world.find("python3").unwrap();
    let found = world.find("./agent.py").unwrap();
    assert_eq!((&found.shown, found.led), (&typed.shown, vec![]), "as `python3 agent.py`");
    assert_eq!(world.below(&found.shown), ["envs/own/bin"]);
    // By its path it is the project that says which.
    let path = world.home.join("envs/own/bin/python3");
    world.program("work/project/path.py", &format!("#!{}\n", path.display()));
    let found = world.find("./path.py").unwrap();
    assert_eq!(found.led, found.shown);
    // What may hold something of the user's is no interpreter.
    world.program("bin/deploy", "#!/bin/sh\n");
    world.program("work/project/deploy.sh", "#!/usr/bin/env deploy\n");
    assert_eq!(world.below(&world.find("./deploy.sh").unwrap().led), ["bin/deploy"]);
}

#[test]
fn an_environment_of_the_project_that_leads_elsewhere_is_its_word_although_it_is_active() {
    let world = World::new(&["work/project/venv/bin"]);
    let other = world.program("other/bin/python3", "\x7fELF");
    std::fs::create_dir_all(world.project.join("venv/bin")).unwrap();
    std::os::unix::fs::symlink(&other, world.project.join("venv/bin/python3")).unwrap();
    world.program("work/project/agent.py", "#!/usr/bin/env python3\n");
    let found = world.find("./agent.py").unwrap();
    assert_eq!((world.below(&found.led), &found.led), (vec!["other/bin".to_owned()], &found.shown));
}

#[test]
fn a_first_line_that_hides_what_it_leads_to_is_refused() {
    let world = World::new(&[]);
    let other = world.program("other/bin/manage", "\x7fELF");
    world.program("work/project/env", "\x7fELF");
    let other = other.display();
    for line in [
        format!("./env {other}"),
        format!("{}/env {other}", world.project.display()),
        format!("/usr/bin/env {other}"),
        format!("/usr/bin/env -S -u {other} sh"),
        format!("/usr/bin/env -S -C {other} sh"),
    ] {
        world.program("work/project/run", &format!("#!{line}\n"));
        match world.find("./run") {
            Ok(found) => assert!(found.shown.is_empty(), "{line}: {:?}", found.shown),
            Err(failure) => assert_eq!(failure.code, NOT_FOUND.to_string(), "{line}"),
        }
    }
}
