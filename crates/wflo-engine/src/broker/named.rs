//! Whether a rule of the settings names a command.
//!
//! A rule is a text in which `*` is any characters, compared with a command's words joined by single spaces. What
//! stands between the rule's words and changes nothing of what is started is looked past: folders before a
//! program's name, options before its verb, programs that start another one, and shells whose script is among the
//! words. Where that cannot be told, it is asked about: a question too many is answered, one too few is not put.
//!
//! Nothing is promised beyond the words: a program that is found under another name, a script that puts its words
//! together, or a program that starts another one by itself is not seen (`docs/guides/approvals.md`).

mod script;
#[cfg(test)]
mod tests;

use self::script::Reader;

/// Programs that start what their other words name.
const WRAPPERS: [&str; 50] = [
    "asdf",
    "builtin",
    "busybox",
    "bwrap",
    "chroot",
    "chrt",
    "command",
    "dbus-run-session",
    "direnv",
    "doas",
    "dumb-init",
    "entr",
    "env",
    "eval",
    "exec",
    "faketime",
    "find",
    "firejail",
    "flock",
    "gosu",
    "ionice",
    "ltrace",
    "mise",
    "nice",
    "nohup",
    "npx",
    "nsenter",
    "numactl",
    "parallel",
    "pipenv",
    "pkexec",
    "poetry",
    "prlimit",
    "runuser",
    "script",
    "setpriv",
    "setsid",
    "stdbuf",
    "strace",
    "su",
    "sudo",
    "systemd-run",
    "taskset",
    "time",
    "timeout",
    "toybox",
    "unshare",
    "uv",
    "watch",
    "xargs",
];
/// Programs that read a script.
const SHELLS: [&str; 13] =
    ["ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "nu", "pwsh", "rbash", "sh", "tcsh", "zsh"];
/// What ends a command within a script.
const ENDS: [char; 9] = [';', '&', '|', '\n', '(', ')', '`', '{', '}'];
/// What else parts words there, or is no part of one.
const BETWEEN: [char; 4] = ['<', '>', '$', '!'];
/// So many beginnings of a command are looked at.
const MOST: usize = 64;
const QUOTES: [char; 3] = ['\'', '"', '\\'];
/// How often, on average, a character of scripts within scripts is read.
const READINGS: usize = 16;
/// What a script costs besides its bytes.
const SCRIPT: usize = 128;
/// Letters of options in one word before what the last of them takes.
const LETTERS: usize = 6;

/// Whether `rule` names the command. One that begins with a path names what has its name anywhere: a path can be
/// written in many ways.
pub(super) fn names(rule: &str, argv: &[String]) -> bool {
    let (program, rest) = rule.split_once(' ').map_or((rule, None), |(program, rest)| (program, Some(rest)));
    let name = base(program);
    let is_path = name != program && !name.trim_matches('*').is_empty();
    names_as_written(rule, argv)
        || is_path && names_as_written(&rest.map_or(name.to_owned(), |rest| format!("{name} {rest}")), argv)
}

fn names_as_written(rule: &str, argv: &[String]) -> bool {
    let Some(program) = argv.first() else { return false };
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let rule = Rule::of(rule);
    if rule.names(&words) {
        return true;
    }
    let name = base(program);
    if !WRAPPERS.contains(&name) && !SHELLS.contains(&name) {
        return false;
    }
    // Which of its words begins what it starts, only the program knows: each may.
    rule.names_an_end(&words) || rule.names_in_scripts(words.iter().skip(1).flat_map(|word| scripts_of(word)))
}

/// The scripts that a word may be: itself, and as an option what it takes.
fn scripts_of(word: &str) -> impl Iterator<Item = String> {
    std::iter::once(word).chain(values_of(word)).filter(|text| is_script(text)).map(str::to_owned)
}

/// What an option may take within its word: `--command=X`, `-cX`, `-qcX`.
fn values_of(word: &str) -> impl Iterator<Item = &str> {
    let option = word.strip_prefix('-');
    let letters =
        option.map_or(0, |rest| rest.bytes().take(LETTERS).take_while(u8::is_ascii_alphabetic).count());
    let value = option.and_then(|rest| rest.split_once('=')).map(|(_, value)| value);
    (1..=letters).map(|end| &word[1 + end..]).chain(value).filter(|value| !value.is_empty())
}

/// Whether a word may be more than one.
fn is_script(word: &str) -> bool {
    word.contains(|c: char| c.is_whitespace() || ENDS.contains(&c) || QUOTES.contains(&c))
}

/// The words of one command of a script that is split without regard to quotes, without what quotes them.
fn words_of(command: &str) -> Vec<String> {
    let parts = |c: char| c.is_whitespace() || BETWEEN.contains(&c);
    let bare = |word: &str| word.replace(QUOTES, "");
    command.split(parts).map(bare).filter(|word| !word.is_empty()).collect()
}

fn base(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

struct Rule<'a> {
    text: &'a str,
    words: Vec<&'a str>,
}

impl<'a> Rule<'a> {
    fn of(text: &'a str) -> Rule<'a> {
        Rule { text, words: text.split(' ').collect() }
    }

    /// Whether it names what one of these words begins. A rule that begins with anything names that with what
    /// stands before it.
    fn names_an_end(&self, words: &[&str]) -> bool {
        if self.text.starts_with('*') {
            return self.names(words);
        }
        let forms =
            |at: usize| std::iter::once(words[at]).chain(values_of(words[at])).map(move |word| (at, word));
        let mut begins = (0..words.len()).flat_map(forms).filter(|(_, word)| self.may_begin(word));
        // So many beginnings are no command that a person wrote: that takes long to judge, and is asked about.
        (0..=MOST).any(|tried| match begins.next() {
            Some((at, word)) => {
                let command =
                    || std::iter::once(word).chain(words[at + 1..].iter().copied()).collect::<Vec<_>>();
                tried == MOST || self.names(&command())
            }
            None => false,
        })
    }

    /// Whether it names a command of these scripts, or of those within them. Each is split as a shell does and
    /// bluntly, since not every shell reads alike and nothing says where quotes that do not close should have.
    fn names_in_scripts(&self, scripts: impl Iterator<Item = String>) -> bool {
        let mut scripts: Vec<String> = scripts.collect();
        // What takes longer is no script that a person wrote, and is asked about.
        let mut work = READINGS * (4096 + scripts.iter().map(String::len).sum::<usize>());
        while let Some(script) = scripts.pop() {
            let Some(left) = work.checked_sub(SCRIPT + script.len()) else { return true };
            let read = Reader::read(&script, left);
            let names =
                |words: &[String]| self.names_an_end(&words.iter().map(String::as_str).collect::<Vec<_>>());
            if read.is_too_much
                || script.split(ENDS).any(|command| names(&words_of(command)))
                || read.commands.iter().any(|words| names(words))
            {
                return true;
            }
            work = read.work;
            let words = read.commands.iter().flatten().chain(&read.scripts);
            // Only what is shorter: a word that is its whole script would be read for ever.
            scripts.extend(words.flat_map(|word| scripts_of(word)).filter(|text| text.len() < script.len()));
        }
        false
    }

    /// Whether a command that begins with this word may be named: most are not, at once.
    fn may_begin(&self, word: &str) -> bool {
        let first = self.words.first().copied().unwrap_or_default();
        let name = base(word);
        let verb = name.split_once('-').map_or(name, |(program, _)| program);
        [word, name, verb].into_iter().any(|begins| fits(first, begins))
    }

    /// Whether it names the command of these words.
    fn names(&self, words: &[&str]) -> bool {
        let Some((program, rest)) = words.split_first() else { return false };
        let name = base(program);
        let whole = |program: &str| {
            let text = std::iter::once(program).chain(rest.iter().copied()).collect::<Vec<_>>().join(" ");
            self.fits(&text)
        };
        if whole(program) || (name != *program && whole(name)) {
            return true;
        }
        // `git-push` is `git push`.
        let parted = name.split_once('-').filter(|(program, verb)| !program.is_empty() && !verb.is_empty());
        let parted = parted.map(|(program, verb)| {
            [program, verb].into_iter().chain(rest.iter().copied()).collect::<Vec<_>>()
        });
        [*program, name].into_iter().any(|program| fits(self.words[0], program) && self.past_options(1, rest))
            || parted.is_some_and(|words| fits(self.words[0], words[0]) && self.past_options(1, &words[1..]))
    }

    /// Whether the text is the rule; a ` *` at its end is also no further words.
    fn fits(&self, text: &str) -> bool {
        fits(self.text, text) || self.text.strip_suffix(" *").is_some_and(|whole| fits(whole, text))
    }

    /// Whether the rule's words from `at` on are these words, where options, each with or without a value, may stand
    /// before any of them.
    fn past_options(&self, at: usize, words: &[&str]) -> bool {
        // Of each place among the words: whether it can be reached with the rule's words so far.
        let mut reached = vec![false; words.len() + 1];
        reached[0] = true;
        skip_options(&mut reached, words);
        for (place, rule) in self.words.iter().enumerate().skip(at) {
            let is_last = place + 1 == self.words.len();
            let mut next = vec![false; words.len() + 1];
            for here in (0..=words.len()).filter(|here| reached[*here]) {
                if *rule == "*" {
                    next[here..].fill(true);
                    break;
                }
                if !words.get(here).is_some_and(|word| fits(rule, word)) {
                    continue;
                }
                // As `*` goes over words: what begins like the last word goes on as it likes.
                if is_last && rule.ends_with('*') {
                    return true;
                }
                next[here + 1] = true;
            }
            if !is_last {
                skip_options(&mut next, words);
            }
            reached = next;
        }
        reached[words.len()]
    }
}

fn skip_options(reached: &mut [bool], words: &[&str]) {
    for here in 0..words.len() {
        // What a variable holds may be options, or nothing.
        let is_option = |word: &str| word.len() > 1 && word.starts_with('-') || word.starts_with('$');
        if reached[here] && is_option(words[here]) {
            reached[here + 1] = true;
            if words.get(here + 1).is_some_and(|value| !is_option(value)) {
                reached[here + 2] = true;
            }
        }
    }
}

/// Whether `text` is `rule`, in which `*` is any characters.
fn fits(rule: &str, text: &str) -> bool {
    let mut parts = rule.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The first place leaves the most for what follows.
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}
