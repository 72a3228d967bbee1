//! Volta: `<root>/bin/node` is a link to `volta-shim`, which chooses by the project's `package.json`.
//!
//! Node's versions are below `<root>/tools/image/node`; the nearest `package.json` pins one (`volta.node`, or a file
//! that `volta.extends` names), else the user's own file does (`tools/user/platform.json`). Programs of packages that
//! the user has installed with it have a file each in `tools/user/bins`, and are below `tools/image/packages`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{installed, read_whole};

/// Programs that come with a Node.
const OF_NODE: [&str; 4] = ["node", "npm", "npx", "corepack"];
/// The most files that extend one another.
const MOST_EXTENDED: usize = 8;

/// The root of the Volta that a program is a shim of.
pub(super) fn root_of(program: &Path) -> Option<PathBuf> {
    let root = program.parent().filter(|folder| folder.ends_with("bin"))?.parent()?;
    let real = program.canonicalize().ok()?;
    let is_shim = real.file_name().is_some_and(|name| name == "volta-shim");
    (is_shim && root.join("tools/image").is_dir()).then(|| root.to_owned())
}

/// The program that the shim would run.
pub(super) fn program(root: &Path, name: &str, project: &Path) -> Option<PathBuf> {
    let found = match OF_NODE.contains(&name) {
        true => node(root, project)?.join("bin").join(name),
        false => {
            let config = json(&root.join("tools/user/bins").join(format!("{name}.json")))?;
            let package = config["package"].as_str().filter(|package| is_package(package))?;
            root.join("tools/image/packages").join(package).join("bin").join(name)
        }
    };
    super::super::is_program(&found).then_some(found)
}

/// The folder of the Node that is chosen for a project.
fn node(root: &Path, project: &Path) -> Option<PathBuf> {
    let manifest = project.ancestors().map(|folder| folder.join("package.json")).find(|file| file.is_file());
    let pinned = manifest.and_then(pinned);
    let usual = || {
        let platform = json(&root.join("tools/user/platform.json"))?;
        Some(platform["node"]["runtime"].as_str()?.to_owned())
    };
    installed(&root.join("tools/image/node"), &pinned.or_else(usual)?)
}

/// The version that a `package.json` pins, or what it extends.
fn pinned(mut file: PathBuf) -> Option<String> {
    for _ in 0..MOST_EXTENDED {
        let manifest = json(&file)?;
        let volta = &manifest["volta"];
        if let Some(version) = volta["node"].as_str() {
            return Some(version.to_owned());
        }
        file = file.parent()?.join(volta["extends"].as_str()?);
    }
    None
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_str(&read_whole(path)?).ok()
}

/// `name` or `@scope/name`, and no way out of a folder.
fn is_package(text: &str) -> bool {
    let plain = |part: &str| {
        let is_one = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && !part.starts_with('.') && part.chars().all(is_one)
    };
    match text.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').is_some_and(|(scope, name)| plain(scope) && plain(name)),
        None => plain(text),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::tests::program as make;
    use crate::interpreter::{node, on_path};
    use crate::settings::Environment;

    #[test]
    fn what_volta_has_chosen_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (root, project) = (folder.path().join("volta"), folder.path().join("work/app/src"));
        std::fs::create_dir_all(&project).unwrap();
        make(&folder.path().join("usr/volta-shim"));
        for path in ["18.19.0/bin/node", "20.11.1/bin/node", "20.11.1/bin/npm"] {
            make(&root.join("tools/image/node").join(path));
        }
        make(&root.join("tools/image/packages/@a/agent/bin/agent"));
        make(&folder.path().join("evil/bin/evil"));
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::create_dir_all(root.join("tools/user/bins")).unwrap();
        for name in ["node", "npm", "agent", "evil", "yarn"] {
            symlink(folder.path().join("usr/volta-shim"), root.join("bin").join(name)).unwrap();
        }
        let environment = Environment::of(&[("PATH", root.join("bin").to_str().unwrap())]);
        let found = || node(&project, &environment);
        let is = |version: &str| Some(root.join("tools/image/node").join(version).join("bin/node"));
        assert_eq!(found(), None, "nothing is chosen");
        let usual = r#"{"node": {"runtime": "20.11.1", "npm": null}, "yarn": null}"#;
        std::fs::write(root.join("tools/user/platform.json"), usual).unwrap();
        assert_eq!(found(), is("20.11.1"));
        let write =
            |place: &str, text: &str| std::fs::write(folder.path().join("work").join(place), text).unwrap();
        write("package.json", r#"{"volta": {"node": "18.19.0"}}"#);
        assert_eq!(found(), is("18.19.0"));
        // The nearest one is the project's; what it does not say is the user's to say.
        write("app/package.json", r#"{"name": "app"}"#);
        assert_eq!(found(), is("20.11.1"));
        write("app/package.json", r#"{"volta": {"extends": "../package.json"}}"#);
        assert_eq!(found(), is("18.19.0"));
        write("package.json", r#"{"volta": {"extends": "app/package.json"}}"#);
        assert_eq!(found(), is("20.11.1"), "a circle chooses nothing");
        for hostile in ["../../../evil", "/etc", "..", "20.11.1/../../../../evil", "99.0.0"] {
            write("app/package.json", &format!(r#"{{"volta": {{"node": "{hostile}"}}}}"#));
            assert_eq!(found(), None, "{hostile}");
        }
        std::fs::remove_file(project.parent().unwrap().join("package.json")).unwrap();
        std::fs::remove_file(folder.path().join("work/package.json")).unwrap();
        let named = |name: &str| on_path(&[name], &project, &environment);
        assert_eq!(named("npm"), Some(root.join("tools/image/node/20.11.1/bin/npm")));
        assert_eq!(named("agent"), None);
        let config = |name: &str, package: &str| {
            let text = format!(r#"{{"name": "{name}", "package": "{package}", "version": "1.0.0"}}"#);
            std::fs::write(root.join("tools/user/bins").join(format!("{name}.json")), text).unwrap();
        };
        config("agent", "@a/agent");
        assert_eq!(named("agent"), Some(root.join("tools/image/packages/@a/agent/bin/agent")));
        for hostile in ["../../../../evil", "@../evil", "..", "/evil", "@a/../../../../../evil"] {
            config("evil", hostile);
            assert_eq!(named("evil"), None, "{hostile}");
        }
        // Named by its path it is the same.
        let shim = root.join("bin/node").display().to_string();
        let environment = Environment::of(&[("WFLO_NODE", &shim)]);
        assert_eq!(node(&project, &environment), is("20.11.1"));
        // A program of that name that is no shim is itself.
        std::fs::remove_file(root.join("bin/node")).unwrap();
        make(&root.join("bin/node"));
        let environment = Environment::of(&[("PATH", root.join("bin").to_str().unwrap())]);
        assert_eq!(node(&project, &environment), Some(root.join("bin/node")));
    }
}
