//! Paths whose change acts on the user's machine or on a server without anybody running it by hand:
//! each is asked about separately.

mod guards;
mod rules;
mod sources;
mod standard;

use serde::{Deserialize, Serialize};

pub(in crate::workspace) use self::guards::Guards;
use super::super::diff::Change;
use super::super::folding::folded;
use super::super::manifest::{Entry, Kind};
use super::super::path::RelPath;

/// Why a path needs the user's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sensitive {
    /// `wflo.toml`: limits, budgets and mounts of later runs.
    Settings,
    /// A workflow definition.
    Definition,
    /// What SQLite would take for a part of a database that is there: a journal, a log.
    Database,
    /// What `wflo.toml` has wflo run outside of every sandbox, or a neighbour of it.
    Program,
    /// Git's own files, hooks among them, and files that steer it.
    Git,
    /// A new object of Git, which nothing runs.
    GitObject,
    /// What a Python is, or runs before any program, or takes for a module's code unread.
    Interpreter,
    /// A file that a build server, a build tool or a test runner runs by itself.
    Ci,
    /// A file that a package manager runs, or that says where it takes packages from.
    Packages,
    /// A file that makes a container or a machine.
    Container,
    /// A file that an editor, a debugger or a prompt of a language runs by itself.
    Editor,
    /// A file that says to a coding agent what to do or which servers to start.
    Agent,
    /// A shell script or a file that a shell, or what hooks into one, reads by itself.
    Shell,
    /// A file that was not executable and is, or begins with `#!`.
    Executable,
    /// A link that leads out of the project.
    LinkOutside,
    /// A link that leads to a hidden file, or to a folder with one in it.
    LinkHidden,
}

/// What is looked at where names do not decide.
pub(in crate::workspace) trait Look {
    /// The first bytes of what the file would be.
    fn start(&self) -> [u8; 2];
    /// What the file was and what it would be; none of what is not there or longer than `most`.
    fn contents(&self, most: u64) -> [Option<Vec<u8>>; 2];
    /// Whether a path is hidden, or something in it is.
    fn hides(&self, path: &RelPath) -> bool;
}

impl Sensitive {
    /// The same of what is an object of Git.
    pub(super) fn of_object(self) -> Sensitive {
        if self == Sensitive::Git { Sensitive::GitObject } else { self }
    }

    /// Why `change` needs the user's word; `None` when it does not.
    #[must_use]
    pub(in crate::workspace) fn of(change: &Change, guards: &Guards, look: &dyn Look) -> Option<Sensitive> {
        let path = &change.path;
        if guards.defines(path) {
            return Some(Sensitive::Definition);
        }
        let kind = change.after.as_ref().map(|entry| &entry.kind);
        let there = change.after.as_ref().or(change.before.as_ref());
        if let Some(why) =
            by_name(path, there.is_some_and(Entry::is_dir)).or_else(|| guards.leads_to(path, kind))
        {
            return Some(why);
        }
        match change.after.as_ref().map(|entry| (&entry.kind, entry.mode)) {
            Some((Kind::Symlink { target }, _)) if leads_outside(path, &target.0) => {
                Some(Sensitive::LinkOutside)
            }
            Some((Kind::Symlink { .. }, _)) => {
                guards.passed(path).iter().any(|path| look.hides(path)).then_some(Sensitive::LinkHidden)
            }
            Some((Kind::File { .. }, _)) if sources::asks(change, look) => Some(Sensitive::Packages),
            Some((Kind::File { .. }, mode)) => {
                let before = change.before.as_ref().filter(|entry| matches!(entry.kind, Kind::File { .. }));
                let could = before.is_some_and(|entry| entry.mode & 0o111 != 0);
                let newly = mode & 0o111 != 0 && !could;
                (newly || (before.is_none() && look.start() == *b"#!")).then_some(Sensitive::Executable)
            }
            _ => None,
        }
    }

    /// Why a path with these parts, in lower case, needs it.
    fn by_parts(parts: &[Vec<u8>], is_dir: bool) -> Option<Sensitive> {
        let name = parts.last()?;
        if parts.iter().any(|part| part == b"wflo.toml") {
            return Some(Sensitive::Settings);
        }
        if parts.iter().any(|part| part.ends_with(b".git")) {
            return Some(Sensitive::Git);
        }
        let in_bin = parts.iter().rev().nth(1).is_some_and(|folder| folder == b"bin" || folder == b"scripts");
        let shadows = parts.len() > 1 && parts.first().is_some_and(|first| first == b"wflo");
        let metadata = |part: &Vec<u8>| part.ends_with(b".egg-info") || part.ends_with(b".dist-info");
        if shadows
            || (in_bin && !is_dir && name.starts_with(b"python"))
            || parts.iter().any(metadata)
            || standard::shadowed(parts)
        {
            return Some(Sensitive::Interpreter);
        }
        // The same modules as packages: `tasks/` alone is what many projects have.
        let package = parts.iter().rev().nth(1).filter(|_| name == b"__init__.py");
        if package.is_some_and(|package| package == b"tasks" || package == b"fabfile") {
            return Some(Sensitive::Ci);
        }
        rules::matching(parts, is_dir)
    }
}

/// Why a path of this name needs the user's word, whatever is in it.
fn by_name(path: &RelPath, is_dir: bool) -> Option<Sensitive> {
    let here: Vec<Vec<u8>> = path.components().map(<[u8]>::to_ascii_lowercase).collect();
    let elsewhere: Vec<Vec<u8>> = here.iter().map(|part| folded(part)).collect();
    let other = || if elsewhere == here { None } else { Sensitive::by_parts(&elsewhere, is_dir) };
    Sensitive::by_parts(&here, is_dir).or_else(other)
}

/// The mode that a path gets in the project: a run cannot open a file to others that were kept out.
pub(in crate::workspace) fn mode(change: &Change, mode: u32) -> u32 {
    let before = change.before.as_ref().map_or(0, |entry| entry.mode);
    mode & (0o755 | (before & 0o022))
}

/// Whether a link at `path` names a place outside of the project, by its text. `..` after a name
/// that may itself be a link cannot be judged by text, so it counts as outside.
fn leads_outside(path: &RelPath, target: &[u8]) -> bool {
    if target.starts_with(b"/") || target.is_empty() {
        return true;
    }
    let mut depth = path.depth().saturating_sub(1);
    let mut descended = false;
    for part in target.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 || descended => return true,
            b".." => depth -= 1,
            _ => {
                descended = true;
                depth += 1;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::super::diff::ChangeKind;
    use super::super::super::hidden::git::Folders;
    use super::super::super::layer::MergedTree;
    use super::super::super::manifest::Digest;
    use super::super::super::repository::Ground;
    use super::*;

    struct Begins([u8; 2]);

    impl Look for Begins {
        fn start(&self) -> [u8; 2] {
            self.0
        }

        fn contents(&self, _: u64) -> [Option<Vec<u8>>; 2] {
            [None, Some(b"https://pypi.org".to_vec())]
        }

        fn hides(&self, _: &RelPath) -> bool {
            false
        }
    }

    fn change(path: &str, before: Option<Entry>, after: Entry) -> Change {
        Change {
            path: path.parse().unwrap(),
            kind: ChangeKind::Added,
            before,
            after: Some(after),
            binary: false,
            before_from: None,
            after_from: None,
            after_link: None,
        }
    }

    fn why(path: &str, after: Entry) -> Option<Sensitive> {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().canonicalize().unwrap();
        let definitions = ["flows/main.py".parse().unwrap()];
        let guards = Guards::new(
            &Ground::of(&project),
            Folders::default(),
            &RelPath::root(),
            &MergedTree::new(),
            &definitions,
        );
        Sensitive::of(&change(path, None, after), &guards, &Begins([0; 2]))
    }

    fn file(mode: u32) -> Entry {
        Entry::file(mode, 0, Digest::of(b""))
    }

    #[test]
    fn files_that_act_by_themselves_are_asked_about() {
        for (expected, paths) in [
            (Some(Sensitive::Settings), "wflo.toml sub/wflo.toml"),
            (Some(Sensitive::Definition), "flows/main.py Flows/MAIN.py"),
            (
                Some(Sensitive::Git),
                ".hg/hgrc .jj/repo/config.toml .git/hooks/pre-commit sub/.git/index .gitattributes",
            ),
            (
                Some(Sensitive::Interpreter),
                ".venv/bin/python .venv/lib/x.py tools/bin/python3.12 env/pyvenv.cfg a/b.pth sitecustomize.py \
                 lib/usercustomize.py sitecustomize/__init__.py wflo.py wflo/__init__.py src/__pycache__/x.pyc .python-version \
                 json.py .pdbrc asyncio/__init__.py Random.py p.egg-info/entry_points.txt lib/fast.so",
            ),
            (
                Some(Sensitive::Ci),
                ".github/workflows/x.yml Makefile rules.mk tests/conftest.py setup.py noxfile.py tox.ini build.rs \
                 CMakeLists.txt pyproject.toml Rakefile .pre-commit-config.yaml .eslintrc.js vite.config.ts .lefthook.yml .githooks/pre-commit Cargo.toml \
                 main.tf .prettierrc.js x.csproj .bazelrc .rubocop.yml .rspec phpunit.xml \
                 .appveyor.yml appveyor.yml .cirrus.yml .semaphore/x bitrise.yml codemagic.yaml buildspec.yml \
                 netlify.toml vercel.json main.tf.json x.tofu a.props a.targets lib/x.rake Podfile BUILD x/BUILD.bazel \
                 lefthook-local.yml .lefthook-local.toml lefthook.json .overcommit.yml captainhook.json prek.toml .gitlint \
                 tasks/__init__.py x/fabfile/__init__.py Directory.Build.rsp x.vcxproj gradle/wrapper/gradle-wrapper.jar defs.bzl build.sc .luacheckrc .proverc .pytest.ini babel.config.json .jshintrc.js .xo.rc.ts",
            ),
            (
                Some(Sensitive::Packages),
                "node_modules/a/index.js .pnp.cjs package.json .npmrc .cargo/config.toml .yarnrc.yml Gemfile",
            ),
            (Some(Sensitive::Container), "Dockerfile app/Dockerfile.dev docker-compose.yml compose.yaml"),
            (
                Some(Sensitive::Editor),
                ".vscode/tasks.json .vimrc .helix/languages.toml .exrc .project .externalToolBuilders/x .luarc.json rust-analyzer.toml .Renviron .dir-locals.el x.code-workspace .irbrc .ghci .iex.exs",
            ),
            (
                Some(Sensitive::Agent),
                ".mcp.json .claude/settings.json CLAUDE.md AGENTS.md AGENTS.override.md .agents/x .cursor/rules QWEN.md .kiro/x .junie/x .crush/x crush.json opencode.jsonc .roorules .roorules-code .rules .goosehints .clinerules/x",
            ),
            (
                Some(Sensitive::Shell),
                "bin/run.SH .bashrc .rvmrc .mise.toml .config/mise/config.toml .tool-versions",
            ),
            // As another file system reads them.
            (
                Some(Sensitive::Git),
                ".GIT/hooks/x .git\u{200c}/hooks/x .g\u{ad}it/config sub/GIT~1/x .gitattributes.",
            ),
            (Some(Sensitive::Ci), "makefile Make\u{fb01}le MAKEFILE:x .git\u{2060}hub/x"),
            (Some(Sensitive::Shell), "run.\u{17f}h"),
            // A folder of a file's name: `setup.py/__main__.py` is what `python setup.py` runs.
            (
                Some(Sensitive::Ci),
                "Makefile/a setup.py/__main__.py x/vite.config.ts/index.js .eslintrc.d/x a.mk/b/c",
            ),
            (Some(Sensitive::Settings), "wflo.toml/x"),
            (Some(Sensitive::Definition), "flows/main.py/x"),
            (
                None,
                "dockerfiles/README.md build/x workspace/x app/configure/x dune/x uv.lock package-lock.txt src.js src/main.py report.md data.json docs/python.md bin/tool tasks/x.py fabfile/x.py src/wflo/x.py compose.py src/json.py json.md jsonx.py",
            ),
        ] {
            for path in paths.split_whitespace() {
                assert_eq!(why(path, file(0o644)), expected, "{path}");
            }
        }
    }

    #[test]
    fn what_becomes_a_program_is_asked_about() {
        let of = |before: Option<Entry>, after: Entry, start: &[u8; 2]| {
            Sensitive::of(&change("run", before, after), &Guards::default(), &Begins(*start))
        };
        assert_eq!(of(None, file(0o755), b"xx"), Some(Sensitive::Executable));
        assert_eq!(of(Some(file(0o644)), file(0o744), b"xx"), Some(Sensitive::Executable));
        assert_eq!(of(None, file(0o644), b"#!"), Some(Sensitive::Executable));
        assert_eq!(of(None, file(0o644), b"# "), None);
        assert_eq!(of(Some(file(0o755)), file(0o755), b"#!"), None, "it was one before");
    }

    #[test]
    fn a_run_opens_no_file_to_others() {
        let given =
            |before: Option<u32>, after: u32| mode(&change("x", before.map(file), file(after)), after);
        assert_eq!(given(None, 0o777), 0o755);
        assert_eq!(given(Some(0o644), 0o666), 0o644);
        assert_eq!(given(Some(0o664), 0o664), 0o664);
        assert_eq!(given(Some(0o600), 0o6755), 0o755);
    }

    #[test]
    fn links_are_judged_by_where_they_lead() {
        let link = |target: &str| Entry::symlink(target.as_bytes().to_vec());
        for (path, target, outside) in [
            ("a", "b/c", false),
            ("d/a", "../b", false),
            ("d/a", "../../b", true),
            ("a", "/etc/passwd", true),
            ("a", "d/../../x", true),
            ("a", "..", true),
        ] {
            assert_eq!(why(path, link(target)).is_some(), outside, "{path} -> {target}");
        }
    }
}
