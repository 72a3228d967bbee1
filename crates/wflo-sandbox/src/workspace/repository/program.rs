//! Programs that run what they are given: how each takes its words.

/// Run a file that is not found by `PATH`, but where they stand.
const SHELLS: [&str; 12] =
    [".", "ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "sh", "source", "tcsh", "zsh"];
/// Run a file, a folder or a name without its ending. Numbers at the end do not count.
const INTERPRETERS: [&str; 26] = [
    "elixir",
    "escript",
    "expect",
    "groovy",
    "guile",
    "java",
    "julia",
    "lua",
    "luajit",
    "node",
    "nodejs",
    "osascript",
    "perl",
    "php",
    "powershell",
    "pwsh",
    "pypy",
    "python",
    "pythonw",
    "racket",
    "rscript",
    "ruby",
    "tclsh",
    "ts-node",
    "tsx",
    "wish",
];
/// Run what a file of the project names, or a file.
const RUNNERS: [&str; 9] = ["bun", "deno", "go", "hatch", "pdm", "pipenv", "poetry", "rye", "uv"];

/// The name of a program without its folder and its version.
pub(super) fn program(text: &str) -> &str {
    let name = text.rsplit('/').next().unwrap_or(text);
    let name = name.strip_suffix(".exe").unwrap_or(name);
    let short = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if short.is_empty() { name } else { short }
}

/// How a program takes its first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Runs {
    Git,
    Shell,
    Script,
    Runner,
}

impl Runs {
    pub(super) fn of(text: &str) -> Option<Runs> {
        let name = program(text).to_ascii_lowercase();
        let is = |names: &[&str]| names.contains(&name.as_str());
        match () {
            () if name == "git" => Some(Runs::Git),
            () if is(&SHELLS) => Some(Runs::Shell),
            () if is(&INTERPRETERS) => Some(Runs::Script),
            () if is(&RUNNERS) => Some(Runs::Runner),
            () => None,
        }
    }
}
