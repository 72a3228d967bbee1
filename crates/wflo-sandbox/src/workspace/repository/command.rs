//! Which files a command runs or reads, by its words.
//!
//! A question that comes each time is not read, so not every word is a file. One with a slash is; a bare one only where
//! something takes it for a file: behind an interpreter, after `<`, or in a pipe to a shell. What follows `git` is
//! branches and paths, but for its options that run something.

use std::path::{Path, PathBuf};

use super::named::{self, MOST_NAMED, Named, Part, at_home};
use super::program::{Runs, program};
use super::shell::{self, Token, UNKNOWN, Word};

/// Take the word behind `-f` for a file of commands.
const READERS: [&str; 8] = ["awk", "gawk", "gmake", "just", "make", "mawk", "ninja", "sed"];
/// Options of whatever program with a file of settings or code.
const FILE_OPTIONS: [&str; 4] = ["--config", "--init-file", "--rcfile", "-F"];
/// Stand for whatever is there.
const OPEN: [char; 4] = [UNKNOWN, '*', '?', '['];
/// Commands in commands are read so deep.
const DEEPEST: usize = 6;
/// So many folders that a command goes to are kept.
const MOST_FOLDERS: usize = 8;

/// What a command names; relative paths are of where it is run.
pub(super) fn named(command: &str) -> Vec<Named> {
    let mut scan = Scan::default();
    // Git runs some of them without a shell.
    if command.contains(char::is_whitespace) && command.contains('/') && !command.contains(OPEN) {
        scan.word(command, Part::File);
    }
    scan.command(command);
    scan.found
}

/// What the arguments of `git` name.
pub(super) fn named_by_git(arguments: &str) -> Vec<Named> {
    let mut scan = Scan::default();
    scan.command(&format!("git {arguments}"));
    scan.found
}

struct Scan {
    found: Vec<Named>,
    /// Where relative names may lie.
    folders: Vec<PathBuf>,
    depth: usize,
}

impl Default for Scan {
    fn default() -> Scan {
        Scan { found: Vec::new(), folders: vec![PathBuf::new()], depth: 0 }
    }
}

impl Scan {
    fn command(&mut self, text: &str) {
        if self.depth == DEEPEST {
            return;
        }
        self.depth += 1;
        let parsed = shell::parse(text);
        parsed.inner.iter().for_each(|inner| self.command(inner));
        let (mut words, mut before) = (Vec::new(), Vec::new());
        let mut tokens = parsed.tokens.into_iter().chain([Token::End]).peekable();
        while let Some(token) = tokens.next() {
            let is_word = |token: &Token| matches!(token, Token::Word(_));
            match token {
                Token::Word(word) => words.push(word),
                Token::Output => drop(tokens.next_if(is_word)),
                Token::Input => {
                    if let Some(Token::Word(word)) = tokens.next_if(is_word) {
                        self.word(&word.text, Part::File);
                    }
                }
                Token::Pipe | Token::End => {
                    self.simple(&words, &before);
                    before = std::mem::take(&mut words);
                    if token == Token::End {
                        before.clear();
                    }
                }
            }
        }
        self.depth -= 1;
    }

    /// One command; `before` are the words of the one whose output it reads.
    fn simple(&mut self, words: &[Word], before: &[Word]) {
        let runs = |word: &Word| Runs::of(&word.text);
        let known = |word: &Word| runs(word).is_some_and(|runs| runs != Runs::Runner);
        let (first, rest) = words.split_at(words.iter().position(known).unwrap_or(words.len()));
        if let Some(at) = first.iter().position(|word| matches!(word.text.as_str(), "cd" | "pushd")) {
            if let Some(folder) = words.get(at + 1) {
                self.enter(&folder.text);
            }
            return;
        }
        self.arguments(first);
        if let Some(at) = first.iter().position(|word| runs(word) == Some(Runs::Runner)) {
            self.run(Runs::Runner, first.get(at + 1..).unwrap_or_default());
        }
        let Some((head, rest)) = rest.split_first() else { return };
        self.slashed(head, true);
        match runs(head) {
            Some(Runs::Git) => self.git(rest),
            Some(runs) if !self.run(runs, rest) => {
                before.iter().skip(1).for_each(|word| self.word(&word.text, Part::File));
            }
            _ => {}
        }
    }

    /// Words of a program that is not known.
    fn arguments(&mut self, words: &[Word]) {
        let head = words.first().map_or("", |head| program(&head.text));
        let mut option = "";
        for (at, word) in words.iter().enumerate() {
            let text = word.text.as_str();
            match assigned(text) {
                // Lists of folders that programs and modules are found in.
                Some((name, value)) if name.ends_with("PATH") || name.ends_with("LIB") => {
                    value.split(':').for_each(|folder| self.word(folder, Part::Whole));
                }
                Some((_, value)) if value.contains('/') => self.word(value, Part::File),
                _ if FILE_OPTIONS.contains(&option) || (option == "-f" && READERS.contains(&head)) => {
                    self.word(text, Part::File);
                }
                _ => self.slashed(word, at == 0 || head == "for"),
            }
            option = text;
        }
    }

    /// What an interpreter is given; false where that is not in its words.
    fn run(&mut self, runs: Runs, words: &[Word]) -> bool {
        let part = if runs == Runs::Shell { Part::File } else { Part::Script };
        let (mut option, mut ran) = ("", false);
        for word in words {
            let text = word.text.as_str();
            let code = match runs {
                Runs::Shell => option.starts_with('-') && !option.starts_with("--") && option.contains('c'),
                _ => matches!(option, "-c" | "-e" | "-E" | "-p" | "-r" | "--eval" | "--print"),
            };
            let is_option = text.starts_with(['-', '+']) && text.len() > 1;
            match runs {
                Runs::Shell if code => self.command(text),
                Runs::Script if code => self.code(text),
                _ if is_option => self.slashed(word, false),
                _ if option == "-m" => self.module(text),
                Runs::Runner if !text.contains(['/', '.']) => {}
                _ if ran => self.slashed(word, false),
                _ => {
                    self.slashed(word, true);
                    self.word(text, part);
                }
            }
            // A word behind another option may be the option's, and the file comes after it.
            let is_it = option.is_empty() || (code && option != "-r") || option == "-m";
            ran |= !is_option && is_it && text != "-" && !(runs == Runs::Runner && text == "run");
            option = if is_option { text } else { "" };
        }
        ran
    }

    /// What `git` is given.
    fn git(&mut self, words: &[Word]) {
        for (at, word) in words.iter().enumerate() {
            let text = word.text.as_str();
            let rest = words.get(at + 1..).unwrap_or_default();
            let (option, value) = text.split_once('=').unwrap_or((text, ""));
            let runs = matches!(option, "--exec" | "--extcmd" | "--receive-pack" | "--upload-pack" | "-x")
                || (option.starts_with("--") && option.ends_with("-filter"));
            match option {
                "-c" | "--config" => {
                    let next = rest.first().map_or("", |next| next.text.as_str());
                    let said = if value.is_empty() { next } else { value };
                    let (name, value) = said.split_once('=').unwrap_or((said, ""));
                    let section = name.split('.').next().unwrap_or("").to_ascii_lowercase();
                    let key = name.rsplit('.').next().unwrap_or("").to_ascii_lowercase();
                    self.found.extend(named::of_setting(&section, &key, value));
                }
                "--exec-path" if !value.is_empty() => self.word(value, Part::Whole),
                _ if runs && !value.is_empty() => self.command(value),
                _ if (runs || matches!(option, "foreach" | "run")) && self.depth < DEEPEST => {
                    self.depth += 1;
                    self.simple(rest, &[]);
                    self.depth -= 1;
                    return;
                }
                _ => {}
            }
        }
    }

    /// A module of Python's, and the packages that it is in.
    fn module(&mut self, name: &str) {
        let path = name.replace('.', "/");
        for (at, _) in path.match_indices('/') {
            self.word(&format!("{}/__init__.py", path.get(..at).unwrap_or("")), Part::File);
        }
        self.word(&path, Part::Script);
    }

    /// Code of another language: whatever in it could be a file or a module.
    fn code(&mut self, text: &str) {
        let pieces = text.split(|c: char| !(c.is_alphanumeric() || "/._-~".contains(c) || c == UNKNOWN));
        for piece in pieces.filter(|piece| !piece.is_empty()) {
            self.word(piece, Part::Script);
            if piece.contains('.') && !piece.contains('/') {
                self.word(&piece.replace('.', "/"), Part::Script);
            }
        }
    }

    /// A word that is a file when there is a slash in it, or a command when there are blanks in its quotes. Of a pattern
    /// only `all` of it counts or nothing: an argument may be every file that there is.
    fn slashed(&mut self, word: &Word, all: bool) {
        if word.quoted && word.text.contains(char::is_whitespace) {
            self.command(&word.text);
        }
        // `--require=./x`, `-I./lib`.
        let text = match word.text.strip_prefix('-') {
            Some(option) => option.split_once('=').map_or(option.get(1..).unwrap_or(""), |(_, value)| value),
            None => &word.text,
        };
        let is_open = || text.trim_start_matches(UNKNOWN).contains(OPEN);
        if text.contains('/') && (all || !is_open()) {
            self.word(text, Part::File);
        }
    }

    fn word(&mut self, text: &str, part: Part) {
        let Some((path, part)) = path_of(text, part).filter(|_| self.found.len() <= MOST_NAMED) else {
            return;
        };
        let places = self.folders.iter().map(|folder| folder.join(&path));
        self.found.extend(places.map(|path| Named { path, part }));
    }

    fn enter(&mut self, folder: &str) {
        if let Some((folder, _)) = path_of(folder, Part::File) {
            let inside: Vec<PathBuf> = self.folders.iter().map(|at| at.join(&folder)).collect();
            self.folders.extend(inside.into_iter().take(MOST_FOLDERS.saturating_sub(self.folders.len())));
        }
    }
}

/// The path that a word means. What is not known at its start is taken for where the command is run; further on, for
/// any name in the folder before it.
fn path_of(text: &str, part: Part) -> Option<(PathBuf, Part)> {
    // All in it would be every file.
    if part == Part::Whole && text == "." {
        return None;
    }
    let known = match text.strip_prefix(UNKNOWN) {
        Some(rest) => rest.trim_start_matches([UNKNOWN, '/']),
        None => text,
    };
    let known = at_home(known)?;
    let is_open = |path: &Path| path.to_string_lossy().contains(OPEN);
    let found = known.ancestors().find(|path| !is_open(path))?;
    let part = if found == known { part } else { Part::Whole };
    let is_place = !found.as_os_str().is_empty() && found != Path::new("/");
    is_place.then(|| (found.to_owned(), part))
}

/// `NAME=value`.
fn assigned(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(command: &str) -> Vec<String> {
        let named = named(command).into_iter().filter(|named| named.path.is_relative());
        let shown = |named: Named| {
            let end = match named.part {
                Part::Whole => "/",
                Part::Script => "*",
                Part::File | Part::Hooks => "",
            };
            format!("{}{end}", named.path.display())
        };
        // The whole of it is one name, too.
        let mut found: Vec<String> = named.map(shown).filter(|found| found != command).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    #[test]
    fn what_a_command_runs_is_named() {
        for (command, names) in [
            ("tools/x %f", &["tools/x"][..]),
            ("'my tools/x' %f", &["my tools/x"]),
            ("python3 x.py", &["x.py*"]),
            ("python3 $PWD/x.py", &["x.py*"]),
            ("\"$(git rev-parse --show-toplevel)\"/my\\ tools/x", &["my tools/x"]),
            ("python3 -m a.b.c", &["a/__init__.py", "a/b/__init__.py", "a/b/c*"]),
            ("cd a && node b", &["a/b*", "b*"]),
            ("{ cd go; ./b; }", &["./b", "go/./b"]),
            ("sh -e x", &["x"]),
            ("eval 'sh x'", &["x"]),
            ("env A=b node -r ./x y z", &["./x*", "y*"]),
            ("node --require=./x y", &["./x", "y*"]),
            ("env PYTHONPATH=a:b:$PWD python3 -m c", &["a/", "b/", "c*"]),
            ("cat a b | sh", &["a", "b"]),
            ("awk -f a <b >c", &["a", "b"]),
            ("f() { tools/go; }; f", &["tools/go"]),
            ("for f in hooks/*.sh; do sh $f; done", &["hooks/"]),
            ("sh tools/$NAME", &["tools/"]),
            ("uv run x.py", &["x.py*"]),
            ("uv run python3 x.py", &["x.py*"]),
            ("git -c core.fsmonitor=a/b status c/d", &["a/b"]),
            ("git -c 'alias.x=!sh y' x", &["y"]),
            ("git submodule foreach --recursive 'sh x'", &["x"]),
            ("git rebase --exec='sh c' -x a/b", &["c", "a/b"]),
            ("python3 -c 'exec(open(\"a.py\").read())'", &["a.py*"]),
        ] {
            let found = found(command);
            for name in names {
                assert!(found.iter().any(|found| found == name), "{command}: {name} in {found:?}");
            }
        }
    }

    #[test]
    fn commands_in_commands_have_an_end() {
        for command in ["git -x ".repeat(100_000), "sh -c \"".repeat(1000), "$(".repeat(1000)] {
            let _ = named(&command);
        }
    }

    #[test]
    fn plain_words_are_no_files() {
        for command in [
            "git log --oneline -- README.md",
            "git push origin main && git branch -d feature/x",
            "store",
            "cache --timeout=3600",
            "merge",
            "less -R",
            "npm test",
            "bun run test",
            "bash -c 'npm test'",
            "f() { git push origin main; }; f",
            "cat README.md",
            "true",
            "osxkeychain",
            "rm -f main",
            "make test",
            "wc -l src/*",
            "ls $X/*",
        ] {
            assert_eq!(found(command), [""; 0], "{command}");
        }
        assert_eq!(named_by_git("log --oneline -- src/x"), []);
    }
}
