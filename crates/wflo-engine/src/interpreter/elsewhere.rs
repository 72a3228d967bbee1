//! Packages that an environment only points at: `.pth` files and editable installs.
//!
//! Python would follow them to any folder of the host, other projects among them. A sandbox does
//! not: what they name is said once, and `[sandbox] ro` can show it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::prefix::{Prefix, is_toolchain, prefix_of, read_small};
use super::{Interpreter, Surroundings};

/// The most that are named.
const MOST: usize = 20;

/// Folders that the interpreter's packages point at and that its sandboxes do not show.
#[must_use]
pub fn elsewhere(
    interpreter: &Interpreter,
    around: &Surroundings,
    ro: &[(PathBuf, PathBuf)],
) -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    for packages in prefix_of(&interpreter.program).iter().flat_map(Prefix::packages) {
        for entry in std::fs::read_dir(&packages).into_iter().flatten().flatten() {
            let path = entry.path();
            let named = if path.extension().is_some_and(|ending| ending == "pth") {
                paths_of(&path, &packages)
            } else {
                editable(&path).into_iter().collect()
            };
            found.extend(named.into_iter().filter(|path| path.is_dir()));
        }
    }
    let shown = |path: &PathBuf| {
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        is_toolchain(&real)
            || real.starts_with(&around.project)
            || interpreter.folders.iter().any(|folder| path.starts_with(folder) || real.starts_with(folder))
            || ro.iter().any(|(_, target)| path.starts_with(target))
            || interpreter.sdk_path.as_ref() == Some(path)
    };
    found.into_iter().filter(|path| !shown(path)).take(MOST).collect()
}

/// The folders that a `.pth` names, one a line; what it imports is code and is not read.
fn paths_of(file: &Path, packages: &Path) -> Vec<PathBuf> {
    let text = read_small(file).unwrap_or_default();
    let lines = text.lines().map(str::trim);
    let paths =
        lines.filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("import"));
    paths.map(|line| packages.join(line)).collect()
}

/// The source of an editable install, by its `direct_url.json` (PEP 610).
fn editable(info: &Path) -> Option<PathBuf> {
    if info.extension()? != "dist-info" {
        return None;
    }
    let said: serde_json::Value = serde_json::from_str(&read_small(&info.join("direct_url.json"))?).ok()?;
    if said["dir_info"]["editable"] != serde_json::Value::Bool(true) {
        return None;
    }
    let path = said["url"].as_str()?.strip_prefix("file://")?;
    Some(PathBuf::from(path.replace("%20", " ")))
}
