//! Agents that speak one dialect, known by whatever starts them: by their name, through a link or by a path, and as the
//! package that a launcher (`npx`, `bunx`, `uvx` and their like) or an interpreter is told to run.
//!
//! Owns which agent a command starts; whether it can work is `program`'s. What is not known is no agent: a wrong guess
//! would refuse a program that asks no model.

use std::path::{Component, Path};

use crate::settings::Dialect;

/// An agent, and how its models are provided.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Agent {
    /// What people call it.
    pub(super) name: &'static str,
    pub(super) dialect: Dialect,
    /// The variable of its key.
    pub(super) key: &'static str,
    /// Packages and programs that are it.
    names: &'static [&'static str],
}

static KNOWN: [Agent; 2] = [
    Agent {
        name: "claude",
        dialect: Dialect::Anthropic,
        key: "ANTHROPIC_API_KEY",
        names: &["claude", "claude-code", "@anthropic-ai/claude-code"],
    },
    Agent {
        name: "codex",
        dialect: Dialect::OpenAi,
        key: "OPENAI_API_KEY",
        names: &["codex", "@openai/codex"],
    },
];

/// What runs a package by its name: the words that have to come first, and options whose next word is theirs.
struct Launcher {
    names: &'static [&'static str],
    /// One of these comes first; nothing has to where there are none.
    commands: &'static [&'static [&'static str]],
    valued: &'static [&'static str],
    /// Options that name the package; the words behind are its program's.
    packages: &'static [&'static str],
}

const OF_NPM: &[&str] = &[
    "-c",
    "--call",
    "-w",
    "--workspace",
    "--cache",
    "--registry",
    "--prefix",
    "--userconfig",
    "--loglevel",
    "--node-options",
    "-C",
    "--dir",
    "--filter",
    "--cwd",
];

static LAUNCHERS: [Launcher; 9] = [
    Launcher {
        names: &["npx", "pnpx", "bunx"],
        commands: &[],
        valued: OF_NPM,
        packages: &["-p", "--package"],
    },
    Launcher {
        names: &["npm"],
        commands: &[&["exec"], &["x"]],
        valued: OF_NPM,
        packages: &["-p", "--package"],
    },
    Launcher {
        names: &["pnpm"],
        commands: &[&["dlx"], &["exec"]],
        valued: OF_NPM,
        packages: &["-p", "--package"],
    },
    Launcher {
        names: &["yarn", "yarnpkg"],
        commands: &[&["dlx"], &["exec"], &["run"]],
        valued: OF_NPM,
        packages: &["-p", "--package"],
    },
    Launcher {
        names: &["bun"],
        commands: &[&["x"], &["run"]],
        valued: OF_NPM,
        packages: &["-p", "--package"],
    },
    Launcher { names: &["deno"], commands: &[&["run"], &["x"]], valued: &["--config", "-c"], packages: &[] },
    Launcher {
        names: &["uvx"],
        commands: &[],
        valued: &["--with", "-p", "--python", "--index-url", "--index", "--directory", "--project"],
        packages: &["--from"],
    },
    Launcher {
        names: &["uv"],
        commands: &[&["tool", "run"], &["run"]],
        valued: &["--with", "-p", "--python", "--index-url", "--index", "--directory", "--project"],
        packages: &["--from"],
    },
    Launcher {
        names: &["pipx"],
        commands: &[&["run"]],
        valued: &["--python", "--pip-args"],
        packages: &["--spec"],
    },
];

/// What runs a file that is its first word.
const INTERPRETERS: [&str; 6] = ["node", "nodejs", "bun", "deno", "python3", "python"];

/// The agent that a command starts, and the words that are its own. `file` is the program's, and `folder` where it
/// starts; files are looked at, and nothing is run.
pub(super) fn of<'a>(
    argv: &'a [String],
    file: &Path,
    folder: &Path,
) -> Option<(&'static Agent, &'a [String])> {
    let (first, words) = argv.split_first()?;
    if let Some(agent) = of_file(file) {
        return Some((agent, words));
    }
    let name = base(first);
    if name == "env" {
        return of_env(words, folder);
    }
    let launcher = LAUNCHERS.iter().find(|launcher| launcher.names.contains(&name));
    if let Some(found) = launcher.and_then(|launcher| launched(launcher, words)) {
        return Some(found);
    }
    if INTERPRETERS.contains(&name) {
        let at = words.iter().position(|word| !word.starts_with('-'))?;
        let agent = of_file(&folder.join(&words[at]))?;
        return Some((agent, words.get(at + 1..)?));
    }
    None
}

/// `env NAME=VALUE… COMMAND`. Who sets an agent's own variables has provided for it.
fn of_env<'a>(words: &'a [String], folder: &Path) -> Option<(&'static Agent, &'a [String])> {
    let at = words.iter().position(|word| !word.starts_with('-') && !word.contains('='))?;
    let (before, command) = words.split_at(at);
    let (agent, own) = of(command, Path::new(command.first()?), folder)?;
    let of_its = agent.key.trim_end_matches("API_KEY");
    (!before.iter().any(|word| word.starts_with(of_its))).then_some((agent, own))
}

fn launched<'a>(launcher: &Launcher, mut words: &'a [String]) -> Option<(&'static Agent, &'a [String])> {
    if !launcher.commands.is_empty() {
        words = launcher.commands.iter().find_map(|command| {
            let said = words.get(..command.len())?;
            let is_it = said.iter().zip(*command).all(|(word, wanted)| word == wanted);
            is_it.then(|| words.get(command.len()..)).flatten()
        })?;
    }
    let mut package = None;
    while let Some((word, rest)) = words.split_first() {
        let (option, value) = word.split_once('=').map_or((word.as_str(), None), |(o, v)| (o, Some(v)));
        if word == "--" {
            words = rest;
        } else if launcher.packages.contains(&option) {
            let value = value.or_else(|| rest.first().map(String::as_str));
            package = package.or_else(|| value.and_then(named));
            words = if word.contains('=') { rest } else { rest.get(1..).unwrap_or_default() };
        } else if word.starts_with('-') {
            let takes = value.is_none() && launcher.valued.contains(&option);
            words = if takes { rest.get(1..).unwrap_or_default() } else { rest };
        } else {
            // The program of a package that was named is mostly called otherwise.
            return named(word).or(package).map(|agent| (agent, rest));
        }
    }
    package.map(|agent| (agent, words))
}

/// The agent of a package's name, whatever its version and registry.
fn named(package: &str) -> Option<&'static Agent> {
    let package = package.strip_prefix("npm:").unwrap_or(package);
    // The first `@` is of its scope.
    let at = package.get(1..).and_then(|rest| rest.find('@')).map_or(package.len(), |at| at + 1);
    let package = package.get(..at).unwrap_or(package);
    KNOWN.iter().find(|agent| agent.names.contains(&package))
}

/// The agent that a file is, by its own name and place or those that its links lead to.
fn of_file(file: &Path) -> Option<&'static Agent> {
    let mut at = file.to_owned();
    for _ in 0..8 {
        let name = at.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let by_name = KNOWN.iter().find(|agent| agent.name == name);
        if let Some(agent) = by_name.or_else(|| of_package(&at)) {
            return Some(agent);
        }
        let Ok(target) = std::fs::read_link(&at) else { break };
        at = at.parent().unwrap_or(Path::new("/")).join(target);
    }
    of_package(&file.canonicalize().ok()?)
}

/// `…/node_modules/@anthropic-ai/claude-code/cli.js`
fn of_package(file: &Path) -> Option<&'static Agent> {
    let parts: Vec<&str> = file
        .components()
        .filter_map(|part| match part {
            Component::Normal(part) => part.to_str(),
            _ => None,
        })
        .collect();
    let is_in = |package: &&str| {
        package.contains('/') && {
            let wanted: Vec<&str> = package.split('/').collect();
            parts.windows(wanted.len()).any(|window| window == wanted)
        }
    };
    KNOWN.iter().find(|agent| agent.names.iter().any(is_in))
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(words: &[&str]) -> Option<(&'static str, usize)> {
        let argv: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let found = of(&argv, Path::new(words[0]), Path::new("/nowhere"));
        found.map(|(agent, own)| (agent.name, own.len()))
    }

    #[test]
    fn an_agent_is_known_by_whatever_starts_it() {
        for (words, name, own) in [
            (&["claude", "-p", "x"][..], "claude", 2),
            (&["/opt/x/bin/codex", "exec"], "codex", 1),
            (&["npx", "claude-code"], "claude", 0),
            (&["npx", "-y", "@anthropic-ai/claude-code@latest", "-p", "x"], "claude", 2),
            (&["npx", "--yes", "--registry", "https://r.example", "@openai/codex"], "codex", 0),
            (&["npx", "--package=@openai/codex", "codex", "exec"], "codex", 1),
            (&["npx", "-p", "@anthropic-ai/claude-code@2.0.1", "-c", "claude -p x"], "claude", 0),
            (&["npm", "exec", "--", "@openai/codex", "exec"], "codex", 1),
            (&["npm", "x", "claude"], "claude", 0),
            (&["/usr/bin/bunx", "@openai/codex@0.5"], "codex", 0),
            (&["bun", "x", "claude"], "claude", 0),
            (&["pnpm", "dlx", "@anthropic-ai/claude-code"], "claude", 0),
            (&["yarn", "dlx", "@openai/codex"], "codex", 0),
            (&["uvx", "--python", "3.12", "codex"], "codex", 0),
            (&["uvx", "--from", "claude-code", "run-it", "a"], "claude", 1),
            (&["uv", "tool", "run", "codex@1"], "codex", 0),
            (&["pipx", "run", "codex"], "codex", 0),
            (&["deno", "run", "-A", "npm:@anthropic-ai/claude-code"], "claude", 0),
            (&["env", "-i", "A=b", "npx", "claude"], "claude", 0),
            (
                &["node", "--no-warnings", "/x/node_modules/@anthropic-ai/claude-code/cli.js", "-p"],
                "claude",
                1,
            ),
        ] {
            assert_eq!(agent(words), Some((name, own)), "{words:?}");
        }
    }

    #[test]
    fn what_merely_speaks_of_one_is_none() {
        for words in [
            &["python", "claude_agent.py"][..],
            &["npx", "prettier", "claude"],
            &["npx", "-y", "serve", "codex"],
            &["npm", "install", "@openai/codex"],
            &["npm", "run", "claude"],
            &["npx", "claude-code-router"],
            &["npx", "@other/codex"],
            &["npx", "--registry", "claude"],
            &["uvx", "--with", "codex", "ruff"],
            &["git", "claude"],
            &["env", "ANTHROPIC_API_KEY=x", "claude"],
            &["node", "codex.js"],
            &["sh", "-c", "claude"],
            &["npx"],
        ] {
            assert_eq!(agent(words), None, "{words:?}");
        }
    }

    #[test]
    fn links_are_followed_to_what_they_lead_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let module = at("lib/node_modules/@anthropic-ai/claude-code/cli.js");
        std::fs::create_dir_all(module.parent().unwrap()).unwrap();
        std::fs::write(&module, "").unwrap();
        std::fs::create_dir(at("bin")).unwrap();
        std::os::unix::fs::symlink("../lib/node_modules/@anthropic-ai/claude-code/cli.js", at("bin/ai"))
            .unwrap();
        std::os::unix::fs::symlink("bin/ai", at("mine")).unwrap();
        // An installation whose last name is its version.
        std::fs::write(at("2.0.1"), "").unwrap();
        std::os::unix::fs::symlink(at("2.0.1"), at("codex")).unwrap();
        std::os::unix::fs::symlink("codex", at("helper")).unwrap();
        let found = |name: &str| of_file(&at(name)).map(|agent| agent.name);
        assert_eq!((found("mine"), found("bin/ai")), (Some("claude"), Some("claude")));
        assert_eq!((found("helper"), found("codex"), found("2.0.1")), (Some("codex"), Some("codex"), None));
        let argv = ["node".to_owned(), "mine".to_owned()];
        assert_eq!(of(&argv, Path::new("/usr/bin/node"), folder.path()).unwrap().0.name, "claude");
    }
}
