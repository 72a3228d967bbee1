//! What runs a script, by its first line: text of whoever wrote the script.

use std::path::{Path, PathBuf};

use wflo_core::error::Failure;

use super::{NOT_FOUND, Search, is_program};

/// The programs that look for another one by its name; a file that is merely called so is none.
const ENV: [&str; 2] = ["/usr/bin/env", "/bin/env"];

/// What runs `file`, absolute; `None` for what is no script.
///
/// # Errors
/// That it is not there, or named in a way that is not followed.
pub(super) fn runner_of(file: &Path, search: &dyn Search) -> Result<Option<PathBuf>, Failure> {
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
        search.find(name)
    } else if Path::new(runs).is_absolute() {
        Some(PathBuf::from(runs)).filter(|path| is_program(path))
    } else {
        return failed("which is no absolute path", "write the whole path, or `#!/usr/bin/env NAME`");
    };
    match runner {
        Some(runner) => Ok(Some(runner)),
        None => failed("which is not there", "install what its first line names"),
    }
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
