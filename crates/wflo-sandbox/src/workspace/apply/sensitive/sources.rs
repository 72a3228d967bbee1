//! Where the packages of a lock file come from.
//!
//! Every `install` of an agent changes a lock file, and a question that is always asked is not read. So a lock file is
//! asked about when it names a source that it did not name before: another registry, another host, another repository.
//! What a package is called, which version it has and its checksum are the business of who reads the diff.

mod local;

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::super::diff::Change;
use super::super::super::folding::folded;
use super::super::super::path::RelPath;
use super::Look;

/// Lock files, in lower case.
const LOCKS: [&str; 22] = [
    "bun.lock",
    "bun.lockb",
    "cargo.lock",
    "conda-lock.yml",
    "constraints.txt",
    "deno.lock",
    "gemfile.lock",
    "gems.locked",
    "go.mod",
    "mix.lock",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "package.resolved",
    "pdm.lock",
    "pipfile.lock",
    "pixi.lock",
    "pnpm-lock.yaml",
    "podfile.lock",
    "poetry.lock",
    "pubspec.lock",
    "uv.lock",
    "yarn.lock",
];

/// Registries that a package manager uses when nobody says which: no news in a lock file that named none before.
const PUBLIC: [&str; 20] = [
    "cdn.cocoapods.org",
    "conda.anaconda.org",
    "crates.io",
    "deno.land",
    "files.pythonhosted.org",
    "github.com/rust-lang/crates.io-index",
    "hex.pm",
    "index.crates.io",
    "index.rubygems.org",
    "jsr.io",
    "npm.jsr.io",
    "pub.dev",
    "pypi.org",
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    "repo.hex.pm",
    "repo.maven.apache.org",
    "repo1.maven.org",
    "rubygems.org",
    "static.crates.io",
];

/// Hosts where everybody has repositories: the source is the repository, not the host.
const CODE_HOSTS: [&str; 12] = [
    "api.github.com",
    "bitbucket.org",
    "codeberg.org",
    "codeload.github.com",
    "gist.github.com",
    "gist.githubusercontent.com",
    "git.sr.ht",
    "github.com",
    "gitlab.com",
    "media.githubusercontent.com",
    "objects.githubusercontent.com",
    "raw.githubusercontent.com",
];

/// What in a lock file of npm says something about a package and takes none from there.
const ABOUT: [&str; 7] = ["bugs", "deprecated", "engines", "funding", "homepage", "license", "url"];

/// A longer lock file is not read.
const LONGEST: u64 = 64 * 1024 * 1024;

/// Whether a change of a file is to a lock file and names another source.
pub(super) fn asks(change: &Change, look: &dyn Look) -> bool {
    let Some(name) = lock(&change.path) else { return false };
    let [before, after] = look.contents(LONGEST);
    has_new(&name, before.as_deref(), after.as_deref())
}

/// What a file that says where packages come from is called, in lower case; none of every other.
fn lock(path: &RelPath) -> Option<Vec<u8>> {
    let name = folded(path.name());
    // `requirements/dev.txt`.
    let folder = path.parent().map(|folder| folded(folder.name())).unwrap_or_default();
    if folder.starts_with(b"requirements") && is_list(&name) {
        return Some(b"requirements.txt".to_vec());
    }
    (LOCKS.iter().any(|lock| name == lock.as_bytes()) || is_requirements(&name)).then_some(name)
}

fn is_list(name: &[u8]) -> bool {
    name.ends_with(b".txt") || name.ends_with(b".in")
}

fn is_requirements(name: &[u8]) -> bool {
    name == b"constraints.txt"
        || (name.starts_with(b"requirements") && is_list(name))
        || ((name.starts_with(b"requirements") || name.starts_with(b"pylock.")) && name.ends_with(b".toml"))
}

/// Whether a lock file names a source that it did not name before; `before` is none where there was no file. What cannot
/// be read could name any.
fn has_new(name: &[u8], before: Option<&[u8]>, after: Option<&[u8]>) -> bool {
    let Some(after) = after.and_then(|after| sources(name, after)) else { return true };
    let before = before.and_then(|before| sources(name, before)).unwrap_or_default();
    let known =
        |source: &String| before.contains(source) || (before.is_empty() && PUBLIC.contains(&source.as_str()));
    !after.iter().all(known)
}

/// The sources that a lock file names; `None` when it cannot be read.
fn sources(name: &[u8], content: &[u8]) -> Option<BTreeSet<String>> {
    let text = std::str::from_utf8(content).ok()?.to_ascii_lowercase();
    let mut found = BTreeSet::new();
    match name {
        b"package-lock.json" | b"npm-shrinkwrap.json" => {
            of_npm(&serde_json::from_str(&text).ok()?, &mut found)
        }
        // A module is its own address; only what stands in its place is a source.
        b"go.mod" => found.extend(text.lines().filter(|line| line.contains("=>")).map(plain)),
        _ => {
            let said = text.lines().filter(|line| !line.trim_start().starts_with("deprecated:"));
            let listed = is_requirements(name) && is_list(name);
            for line in said {
                addresses(line, &mut found);
                match listed {
                    true => local::requirement(line, &mut found),
                    false => local::paths(line, &mut found),
                }
            }
            if is_requirements(name) {
                let options = text.lines().map(str::trim).filter(|line| line.starts_with('-'));
                found.extend(options.filter(|line| !line.starts_with("--hash")).map(plain));
            }
        }
    }
    Some(found)
}

/// A line without its blanks and its comment.
fn plain(line: &str) -> String {
    let line = line.split("//").next().filter(|_| !line.contains("://")).unwrap_or(line);
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn of_npm(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let short = ["github:", "gitlab:", "bitbucket:", "gist:", "file:"];
            if short.iter().any(|short| text.starts_with(short)) {
                found.insert(text.split('#').next().unwrap_or(text).to_owned());
            }
            addresses(text, found);
        }
        Value::Array(items) => items.iter().for_each(|item| of_npm(item, found)),
        Value::Object(entries) => {
            // A folder of the project, or an archive in it.
            let resolved = entries.get("resolved").and_then(Value::as_str);
            found.extend(resolved.filter(|resolved| !resolved.contains("://")).map(str::to_owned));
            let said = entries.iter().filter(|(key, _)| !ABOUT.contains(&key.as_str()));
            said.for_each(|(_, value)| of_npm(value, found));
        }
        _ => {}
    }
}

/// Adds what the addresses in a text, in lower case, name: `scheme://host/path`, and `user@host:path` as `ssh` has it.
fn addresses(text: &str, found: &mut BTreeSet<String>) {
    for (at, _) in text.match_indices("://") {
        let before = text.get(..at).unwrap_or("");
        let start = before.rfind(|c: char| !(c.is_ascii_alphanumeric() || "+.-".contains(c)));
        let scheme = before.get(start.map_or(0, |last| last + 1)..).unwrap_or(before);
        let rest = text.get(at + 3..).unwrap_or("");
        let end = rest.find(|c: char| c.is_whitespace() || "\"'`<>,;()[]{}|\\".contains(c));
        let address = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
        found.insert(source(scheme, address));
    }
    for (at, _) in text.match_indices("git@") {
        let rest = text.get(at + 4..).unwrap_or("");
        let end = rest.find(|c: char| c.is_whitespace() || "\"'`<>,;()[]{}|\\#".contains(c));
        let place = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
        if let Some((host, path)) = place.split_once(':')
            && !host.contains('/')
        {
            found.insert(repository(host, path));
        }
    }
}

fn source(scheme: &str, address: &str) -> String {
    let address = address.split(['?', '#']).next().unwrap_or(address);
    let (authority, path) = address.split_once('/').unwrap_or((address, ""));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let of_code = ["git", "ssh", "hg", "svn", "bzr"].iter().any(|kind| scheme.contains(kind))
        || CODE_HOSTS.contains(&host)
        || path.contains(".git");
    match (of_code, scheme) {
        (true, _) => repository(host, path),
        // What anybody on the way can change is another source.
        (false, "http" | "ftp") => format!("http://{host}"),
        (false, "file") => format!("file://{path}"),
        (false, _) => host.to_owned(),
    }
}

/// A repository by its host and the first two parts of its path.
fn repository(host: &str, path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).take(2).collect();
    let path = parts.join("/");
    let path = path.split(".git").next().unwrap_or(&path).split('@').next().unwrap_or(&path);
    format!("{host}/{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NPM: &str = r#"{"packages": {"node_modules/a": {"version": "1.0.0",
        "resolved": "https://registry.npmjs.org/a/-/a-1.0.0.tgz"}}}"#;

    fn asks(name: &str, before: Option<&str>, after: &str) -> bool {
        has_new(name.as_bytes(), before.map(str::as_bytes), Some(after.as_bytes()))
    }

    #[test]
    fn an_install_from_where_packages_came_from_is_no_question() {
        let more = NPM.replace(
            "}}}",
            r#"}, "node_modules/b": {"resolved": "https://registry.npmjs.org/b/-/b-2.tgz",
            "deprecated": "see https://b.example", "funding": {"url": "https://github.com/sponsors/b"}}}}"#,
        );
        assert!(!asks("package-lock.json", None, NPM));
        assert!(!asks("package-lock.json", Some(NPM), &more));
        for (name, before, after) in [
            (
                "uv.lock",
                "source = { registry = \"https://pypi.org/simple\" }",
                "\nurl = \"https://pypi.org/x\"",
            ),
            ("cargo.lock", "", "source = \"registry+https://github.com/rust-lang/crates.io-index\""),
            (
                "yarn.lock",
                "resolved \"https://npm.corp.example/a/-/a.tgz#1\"",
                "\nresolved \"https://npm.corp.example/b\"",
            ),
            ("requirements.txt", "a==1 # see https://pypi.org/a", "\nb==2 --hash=sha256:x"),
            ("go.mod", "require github.com/a/b v1.0.0", "\nrequire example.org/c v1.0.0"),
            ("gemfile.lock", "GIT\n  remote: git@github.com:o/r.git\n", "  revision: 12\n"),
            ("pnpm-lock.yaml", "", "  deprecated: see https://x.example\n"),
            ("uv.lock", "", "source = { editable = \".\" }\nfile = \"a-1.whl\"\n"),
            ("gemfile.lock", "", "PATH\n  remote: .\n  specs:\n"),
            (
                "requirements.txt",
                "a==1 \\\n    --hash=sha256:x",
                "\nb>=2 ; python_version > \"3\"  # via -r requirements/x.in",
            ),
            ("pipfile.lock", "", "\"editable\": true, \"markers\": \"x\""),
            ("poetry.lock", "", "{file = \"a-1.whl\", hash = \"sha256:x\"},\n"),
        ] {
            assert!(!asks(name, Some(before), &format!("{before}{after}")), "{name} {after}");
        }
    }

    #[test]
    fn another_registry_or_repository_is_a_question() {
        for resolved in [
            "https://registry.evil.example/a/-/a-1.0.0.tgz",
            "http://registry.npmjs.org/a/-/a-1.0.0.tgz",
            "git+ssh://git@github.com/evil/a.git#1",
            "https://codeload.github.com/evil/a/tar.gz/1",
            "github:evil/a",
            "file:../a.tgz",
            "vendor/a",
        ] {
            let after = NPM.replace("https://registry.npmjs.org/a/-/a-1.0.0.tgz", resolved);
            assert!(asks("package-lock.json", Some(NPM), &after), "{resolved}");
            assert!(asks("package-lock.json", None, &after), "{resolved}");
        }
        for (name, before, after) in [
            (
                "uv.lock",
                "registry = \"https://pypi.corp.example/simple\"",
                "\nregistry = \"https://pypi.org/simple\"",
            ),
            (
                "poetry.lock",
                "url = \"https://github.com/o/r.git\"",
                "\nurl = \"https://github.com/evil/r.git\"",
            ),
            ("requirements-dev.txt", "a==1", "\n--index-url https://pypi.org/simple"),
            ("requirements.txt", "--find-links wheels", "\n--find-links other"),
            ("requirements.in", "a==1", "\nb @ git+https://github.com/evil/b"),
            ("gemfile.lock", "remote: git@github.com:o/r.git\n", "remote: git@github.com:evil/r.git\n"),
            ("go.mod", "require github.com/a/b v1", "\nreplace github.com/a/b => github.com/evil/b v1"),
            ("yarn.lock", "", "resolved \"https://user:pw@registry.evil.example/x\""),
            ("requirements.txt", "a==1", "\n./vendor/evil-1.0.tar.gz"),
            ("requirements.txt", "a==1", "\nevil-1.0.zip  # from https://pypi.org/a"),
            ("requirements.txt", "a==1", "\nb @ vendor/evil"),
            ("constraints.txt", "", "../evil"),
            ("poetry.lock", "", "[package.source]\ntype = \"file\"\nurl = \"evil.whl\""),
            ("pnpm-lock.yaml", "", "    resolution: {integrity: x, tarball: file:evil.tgz}"),
            ("pnpm-lock.yaml", "", "    resolution: {directory: ../evil, type: directory}"),
            ("uv.lock", "", "source = { path = \"evil.whl\" }"),
            ("uv.lock", "", "source = {directory='evil'}"),
            ("uv.lock", "source = { editable = \".\" }", "\nsource = { editable = \"evil\" }"),
            ("pylock.toml", "", "path = \"evil.whl\""),
            ("gemfile.lock", "", "PATH\n  remote: vendor/evil\n"),
            ("pipfile.lock", "", "\"evil\": {\"file\": \"evil.whl\"}"),
            ("yarn.lock", "", "\"evil@file:./evil\":"),
            ("bun.lock", "", "\"evil\": [\"evil@link:evil\", {}],"),
            ("pubspec.lock", "", "      path: \"../evil\""),
            ("podfile.lock", "", "    :path: \"../evil\""),
        ] {
            assert!(asks(name, Some(before), &format!("{before}{after}")), "{name} {after}");
        }
        assert!(has_new(b"bun.lockb", None, Some(b"\xff\x00")) && asks("package-lock.json", Some(NPM), "{"));
        assert!(has_new(b"uv.lock", None, None));
        let name = |path: &str| lock(&path.parse().unwrap());
        assert_eq!(name("a/Requirements/dev.txt").as_deref(), Some(&b"requirements.txt"[..]));
        assert_eq!([name("requirements/readme.md"), name("a/dev.txt")], [None, None]);
    }
}
