//! What runs a script, by its first line: text of whoever wrote the script.

use std::path::{Path, PathBuf};

use wflo_core::error::Failure;

use super::{NOT_FOUND, Search, is_program};

/// The programs that look for another one by its name; a file that is merely called so is none.
const ENV: [&str; 2] = ["/usr/bin/env", "/bin/env"];

/// What runs programs of a language, by their names there; `python3.12` is one as well. Nothing of a user's own is in
/// one, as it may be in any other program that their search path finds.
const INTERPRETERS: [&str; 21] = [
    "bash", "bun", "dash", "deno", "fish", "guile", "julia", "ksh", "lua", "node", "nodejs", "perl", "php",
    "pwsh", "pypy", "python", "Rscript", "ruby", "sh", "uv", "zsh",
];

/// What runs a script.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Runner {
    /// Absolute.
    pub(super) file: PathBuf,
    /// An interpreter that the user's own search path has found by its name, as where they type it before the script.
    pub(super) is_typed: bool,
}

/// What runs `file`; `None` for what is no script.
///
/// # Errors
/// That it is not there, or named in a way that is not followed.
pub(super) fn runner_of(file: &Path, search: &dyn Search) -> Result<Option<Runner>, Failure> {
    let Some(line) = shebang(file) else { return Ok(None) };
    let mut words = line.split_whitespace();
    let Some(runs) = words.next() else { return Ok(None) };
    let failed = |what: &str, hint: &str| {
        Err(Failure::new(NOT_FOUND, format!("{} is run by `{line}`, {what}", file.display())).with_hint(hint))
    };
    let runner = if ENV.contains(&runs) {
        let Some(name) = named(words) else {
            let hint =
                "write `#!/usr/bin/env NAME`, `#!/usr/bin/env -S NAME OPTIONS`, or the path of what runs it";
            return failed("which names no program by its name alone", hint);
        };
        let is_typed = is_interpreter(name);
        search.find(name).map(|file| Runner { file, is_typed })
    } else if Path::new(runs).is_absolute() {
        let file = Some(PathBuf::from(runs)).filter(|path| is_program(path));
        file.map(|file| Runner { file, is_typed: false })
    } else {
        return failed("which is no absolute path", "write the whole path, or `#!/usr/bin/env NAME`");
    };
    match runner {
        Some(runner) => Ok(Some(runner)),
        None => failed("which is not there", "install what its first line names"),
    }
}

fn is_interpreter(name: &str) -> bool {
    let language = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    INTERPRETERS.contains(&language)
}

/// The name that `env` is to look for. One with a slash is looked for by nobody, and of `env`'s options those
/// are known that scripts have.
fn named<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    while let Some(word) = words.next() {
        // What is to be split stands behind it, with or without a blank.
        let word = word.strip_prefix("--split-string=").or_else(|| word.strip_prefix("-S")).unwrap_or(word);
        match word {
            "" | "--split-string" | "-i" | "--ignore-environment" | "-v" | "--debug" => {}
            "-u" | "--unset" => drop(words.next()),
            _ if word.starts_with("--unset=") || word.starts_with("-u") => {}
            _ if word.starts_with('-') => return None,
            _ if word.contains('=') => {}
            name => return Some(name).filter(|name| !name.contains('/')),
        }
    }
    None
}

fn shebang(file: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut head = Vec::new();
    std::fs::File::open(file).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    Some(String::from_utf8_lossy(line).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_known_by_their_languages() {
        for name in ["python", "python3", "python3.12", "pypy3", "node", "bash", "uv"] {
            assert!(is_interpreter(name), "{name}");
        }
        for name in ["manage", "3", "", "deploy.py", "aws", "python3-config"] {
            assert!(!is_interpreter(name), "{name}");
        }
    }

    #[test]
    fn env_is_read_as_it_reads_itself() {
        let of = |line: &'static str| named(line.split_whitespace());
        for (line, name) in [
            ("python3", "python3"),
            ("-S python3 -u", "python3"),
            ("-Spython3 -u", "python3"),
            ("--split-string=node --no-warnings", "node"),
            ("-S -u manage sh", "sh"),
            ("-S --unset=HOME -i A=/b/c deno run", "deno"),
        ] {
            assert_eq!(of(line), Some(name), "{line}");
        }
        for line in [
            "",
            "-S",
            "/home/u/manage",
            "-S -u /home/u/manage",
            "./manage",
            "-C /home/u manage",
            "-S -P /x sh",
        ] {
            assert_eq!(of(line), None, "{line}");
        }
    }
}
