//! Whether a rule of the settings names a command.
//!
//! A rule is a text in which `*` is any characters, compared with a command's words joined by single spaces. What
//! stands between the rule's words and changes nothing of what is started is looked past: folders before a
//! program's name, options before its verb, programs that start another one, and shells whose script is among the
//! words. Where that cannot be told, it is asked about: a question too many is answered, one too few is not put.
//!
//! Nothing is promised beyond the words: a program that is found under another name, a script that puts its words
//! together, or a program that starts another one by itself is not seen (`docs/guides/approvals.md`).

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
/// Substitutions and subshells within each other that are read.
const DEEPEST: usize = 32;
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

/// A script as a shell splits it. Of `$(…)`, `` `…` ``, `${…}`, `(…)` and `<(…)` a `$` stays in the word around; the
/// commands in them are commands of their own.
#[derive(Default)]
struct Reader<'a> {
    rest: &'a str,
    commands: Vec<Vec<String>>,
    /// What may be scripts, too: between backquotes, here-documents, targets of redirections.
    scripts: Vec<String>,
    /// The here-documents that begin on the next line: the line that ends each, and whether tabs may precede it.
    here: Vec<(String, bool)>,
    /// So many bytes may still be read more than once.
    work: usize,
    /// It is nested too deeply, or takes too long: nobody knows what it does.
    is_too_much: bool,
}

/// A command that is being read.
#[derive(Default)]
struct Command {
    words: Vec<String>,
    word: Option<String>,
    /// The operator whose target the next word is.
    redirects: Option<Redirection>,
}

enum Redirection {
    File,
    Here { tabs: bool },
}

impl<'a> Reader<'a> {
    fn read(script: &'a str, work: usize) -> Reader<'a> {
        let mut reader = Reader { rest: script, work, ..Reader::default() };
        reader.commands(0);
        reader
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Goes past `text` if it is next.
    fn skips(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// The commands up to the end, or up to the `)` of what is within another.
    fn commands(&mut self, depth: usize) {
        let mut command = Command::default();
        // In `case x in y)` it ends nothing.
        let mut cases = 0;
        while let Some(c) = self.next() {
            match c {
                ')' => {
                    self.end_command(&mut command, &mut cases);
                    if depth > 0 && cases == 0 {
                        return;
                    }
                }
                '\n' => {
                    self.end_command(&mut command, &mut cases);
                    self.here_documents();
                }
                ';' | '|' => self.end_command(&mut command, &mut cases),
                '&' if !self.rest.starts_with('>') => self.end_command(&mut command, &mut cases),
                '<' | '>' if self.rest.starts_with('(') => {}
                '&' | '<' | '>' => self.redirection(c, &mut command),
                '#' if command.word.is_none() => {
                    self.rest = &self.rest[self.rest.find('\n').unwrap_or(self.rest.len())..];
                }
                '\\' if self.skips("\n") => {}
                c if c.is_whitespace() => self.end_word(&mut command),
                c => self.part(c, command.word.get_or_insert_default(), depth),
            }
        }
        self.end_command(&mut command, &mut cases);
    }

    fn within(&mut self, depth: usize, read: impl FnOnce(&mut Self, usize)) {
        if depth < DEEPEST {
            read(self, depth + 1);
        } else {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        self.is_too_much = true;
        self.rest = "";
    }

    fn end_word(&mut self, command: &mut Command) {
        let Some(word) = command.word.take() else { return };
        match command.redirects.take() {
            None => command.words.push(word),
            Some(Redirection::File) => self.scripts.push(word),
            Some(Redirection::Here { tabs }) => self.here.push((word, tabs)),
        }
    }

    fn end_command(&mut self, command: &mut Command, cases: &mut usize) {
        self.end_word(command);
        let words = std::mem::take(command).words;
        if words.windows(3).any(|words| words[0] == "case" && words[2] == "in") {
            *cases += 1;
        } else if words.first().is_some_and(|word| word == "esac") {
            *cases = cases.saturating_sub(1);
        }
        if !words.is_empty() {
            self.commands.push(words);
        }
    }

    /// An operator that begins with `c`; the number before it belongs to it.
    fn redirection(&mut self, c: char, command: &mut Command) {
        command.word.take_if(|word| word.bytes().all(|c| c.is_ascii_digit()));
        self.end_word(command);
        let rest = self.rest.trim_start_matches(['<', '>', '&', '|']);
        let operator = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        command.redirects = Some(if c == '<' && operator == "<" {
            Redirection::Here { tabs: self.skips("-") }
        } else {
            Redirection::File
        });
    }

    /// The here-documents that begin here. One that does not end is none (`((a<<2))`).
    fn here_documents(&mut self) {
        for (end, tabs) in std::mem::take(&mut self.here) {
            let mut length = 0;
            for line in self.rest.split_inclusive('\n') {
                let Some(left) = self.work.checked_sub(line.len()) else { return self.give_up() };
                self.work = left;
                let text = line.strip_suffix('\n').unwrap_or(line);
                if end == if tabs { text.trim_start_matches('\t') } else { text } {
                    self.scripts.push(self.rest[..length].to_owned());
                    self.rest = &self.rest[length + line.len()..];
                    break;
                }
                length += line.len();
            }
        }
    }

    /// What `c` begins within a word.
    fn part(&mut self, c: char, word: &mut String, depth: usize) {
        match c {
            '\'' => self.single_quoted(word),
            '"' => self.double_quoted(word, depth),
            '\\' => word.extend(self.next()),
            '(' => {
                word.push('$');
                self.within(depth, Self::commands);
            }
            '$' if self.skips("'") => self.escaped(word),
            '$' if self.rest.starts_with('"') => {}
            '$' | '`' => self.expansion(c, word, depth, false),
            c => word.push(c),
        }
    }

    fn single_quoted(&mut self, word: &mut String) {
        let (quoted, rest) = self.rest.split_once('\'').unwrap_or((self.rest, ""));
        word.push_str(quoted);
        self.rest = rest;
    }

    /// What stands in `$'…'`.
    fn escaped(&mut self, word: &mut String) {
        while let Some(c) = self.next() {
            match c {
                '\'' => return,
                '\\' => word.extend(self.next().map(|c| match c {
                    'n' => '\n',
                    't' => '\t',
                    c => c,
                })),
                c => word.push(c),
            }
        }
    }

    fn double_quoted(&mut self, word: &mut String, depth: usize) {
        while let Some(c) = self.next() {
            match c {
                '"' => return,
                '\\' if self.skips("\n") => {}
                '\\' if self.rest.starts_with(['"', '\\', '$', '`']) => word.extend(self.next()),
                '$' | '`' => self.expansion(c, word, depth, true),
                c => word.push(c),
            }
        }
    }

    /// What `$` or a backquote begins.
    fn expansion(&mut self, c: char, word: &mut String, depth: usize, is_quoted: bool) {
        word.push('$');
        if c == '`' {
            self.backquoted();
        } else if self.skips("(") {
            self.within(depth, Self::commands);
        } else if self.skips("{") {
            self.within(depth, |reader, depth| reader.braces(depth, is_quoted));
        }
    }

    fn backquoted(&mut self) {
        let mut script = String::new();
        while let Some(c) = self.next() {
            match c {
                '`' => break,
                '\\' if self.rest.starts_with(['\\', '$', '`']) => script.extend(self.next()),
                c => script.push(c),
            }
        }
        self.scripts.push(script);
    }

    /// The rest of `${…}`; a single quote is one only outside of double ones.
    fn braces(&mut self, depth: usize, is_quoted: bool) {
        let mut value = String::new();
        while let Some(c) = self.next() {
            match c {
                '}' => return,
                '\\' => value.extend(self.next()),
                '\'' if !is_quoted => self.single_quoted(&mut value),
                '"' => self.double_quoted(&mut value, depth),
                '$' | '`' => self.expansion(c, &mut value, depth, is_quoted),
                c => value.push(c),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn is_named(rule: &str, command: &str) -> bool {
        names(rule, &command.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    fn of(argv: &[&str]) -> Vec<String> {
        argv.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_rule_names_whole_commands() {
        assert!(is_named("git push *", "git push origin main"));
        assert!(is_named("git push *", "git push"), "no further words are words, too");
        assert!(is_named("git push *", "/usr/bin/git push origin"), "a program counts by its name");
        assert!(is_named("terraform apply*", "terraform apply -auto-approve"));
        assert!(is_named("*push*", "sh -c git push"));
        assert!(is_named("* --force *", "git push --force x"));
        assert!(is_named("*", "anything at all") && is_named("make", "make"));
        for (rule, other) in [
            ("git push *", "git pull"),
            ("git push *", "git pushed"),
            ("git push *", "git log push"),
            ("git push *", "git -C dir log push"),
            ("git push *", "echo git push"),
            ("git push", "git push origin"),
            ("git push", "git -C x push origin"),
            ("terraform apply*", "terraform plan"),
            ("terraform apply*", "terraform -chdir=x plan"),
            ("a*b*c", "a c"),
            ("ab*ba", "aba"),
            ("rm *", "git rm x"),
            ("make", "make install"),
        ] {
            assert!(!is_named(rule, other), "{rule}: {other}");
        }
        assert!(!names("*", &[]));
    }

    #[test]
    fn options_before_the_verb_hide_nothing() {
        for command in [
            "git -c x=y push",
            "git -C dir push origin",
            "git --git-dir=/x/.git --work-tree /x push",
            "git -c a=b -c c=d --no-pager push --force",
            "/usr/bin/git -P push",
            "/usr/lib/git-core/git-push origin",
        ] {
            assert!(is_named("git push *", command), "{command}");
        }
        assert!(is_named("terraform apply*", "terraform -chdir=infra apply -auto-approve"));
        assert!(is_named("aws s3 rm *", "aws --region eu s3 --profile p rm s3://x"));
        assert!(is_named("git push origin *", "git push --force origin main"));
        assert!(is_named("git push", "git -C dir push"));
        assert!(is_named("docker compose up *", "docker-compose up"));
    }

    #[test]
    fn programs_that_start_another_hide_nothing() {
        for argv in [
            &["env", "A=b", "git", "push"][..],
            &["/usr/bin/env", "-i", "-u", "X", "A=b", "git", "-C", "d", "push"],
            &["nice", "-n", "19", "git", "push"],
            &["timeout", "--signal=KILL", "10", "/usr/bin/git", "push"],
            &["nohup", "sudo", "-u", "me", "git", "push"],
            &["sh", "-c", "git push"],
            &["bash", "-lc", "cd x && git -c a=b push origin; true"],
            &["sh", "-c", "A=b g\"it\" 'push'"],
            &["sh", "-c", "true\ngit push\n"],
            &["sh", "-c", "if make; then git push; fi"],
            &["sh", "-c", "echo $(git push)"],
            &["nice", "sh", "-c", "exec git push"],
            &["env", "-S", "git push"],
            &["xargs", "-n1", "git", "push"],
            &["busybox", "sh", "-c", "git push"],
            &["sh", "-c", "bash -c \"git push\""],
            &["find", ".", "-exec", "git", "push", ";"],
        ] {
            assert!(names("git push *", &of(argv)), "{argv:?}");
        }
        for argv in [
            &["sh", "-c", "git pull; make push"][..],
            &["env", "A=git push", "make"],
            &["nice", "make", "push"],
        ] {
            assert!(!names("git push *", &of(argv)), "{argv:?}");
        }
    }

    #[test]
    fn long_commands_are_judged_in_time() {
        let script = "echo a;".repeat(200_000);
        assert!(!names("git push *", &of(&["sh", "-c", &script])));
        let words: Vec<String> =
            std::iter::once("env".to_owned()).chain((0..200_000).map(|n| format!("git{n}"))).collect();
        assert!(!names("git push *", &words));
        let hostile: Vec<String> =
            std::iter::once("env".to_owned()).chain((0..200_000).map(|_| "git".to_owned())).collect();
        assert!(names("git push *", &hostile), "what cannot be judged is asked about");
    }

    #[test]
    fn scripts_are_split_as_shells_do() {
        let push = "git push *";
        for (rule, script) in [
            (push, "git -C \"my dir\" push"),
            (push, "git -C my\\ dir push"),
            (push, "git -C $'it\\'s here' push"),
            (push, "git \\\n push origin"),
            (push, "gi\\\nt pu\"\\\nsh\""),
            ("aws s3 rm *", "aws s3 \\\n  rm s3://x"),
            (push, "git -C $(pwd) push"),
            (push, "git -C `pwd` push"),
            (push, "git -C \"$(dirname \"$(pwd)\")\" push"),
            (push, "git -C ${HOME}/x push"),
            (push, "git -C \"${HOME:-it's}/x y\" push"),
            (push, "git -c core.x=$((1 << 2)) push"),
            (push, "git -C (pwd) push"),
            (push, "git $OPTIONS push"),
            ("terraform apply*", "terraform -chdir=${DIR} apply"),
            ("terraform apply*", "terraform -chdir=\"$(pwd)\" apply"),
            ("npm publish *", "npm --prefix \"my app\" publish"),
            (push, "git -c user.name='A; B' push"),
            (push, "git >/dev/null push"),
            (push, "git 2>&1 push"),
            (push, "git >> \"a log\" 2>&- < in push"),
            (push, "git &> log push"),
            ("git push", "(git push) >log # now"),
            (push, "echo $(git -C 'a b' push)"),
            (push, "echo `git -C 'a b' push`"),
            (push, "echo \"$(git -C 'a b' push)\""),
            (push, "echo \"so: `git -C 'a b' push`\""),
            (push, "echo ${x:-$(git -C 'a b' push)}"),
            (push, "echo \"$(case $x in a) git -C \"a b\" push;; esac)\""),
            (push, "diff <(git -C 'a b' push) x"),
            (push, "{ git -C 'a b' push; }"),
            (push, "if true; then git -C 'a b' push; fi"),
            (push, "! git -C 'a b' push"),
            (push, "VAR='x y' git -C 'a b' push"),
            (push, "f() { git -C 'a b' push; }; f"),
            (push, "# it's so\ngit -C \"a b\" push"),
            (push, "cat >x <<'END'\nit's\nEND\ngit -C \"a b\" push"),
            (push, "git commit -m \"$(cat <<-END\n\tit's\n\tEND\n)\" && git -C \"a b\" push"),
            (push, "bash <<END\ngit -C 'a b' push\nEND\n"),
            (push, "bash <<< \"git -C 'a b' push\""),
            (push, "((a<<2))\ngit -C 'a b' push"),
            (push, "nice bash -c \"cd 'x y' && git -C 'a b' push\""),
            (push, "env -S\"git -C 'a b' push\""),
            (push, "git -C 'a b' push; echo 'unbalanced"),
            (push, "echo \"unbalanced; git push"),
        ] {
            assert!(names(rule, &of(&["bash", "-c", script])), "{script}");
        }
        for script in [
            "git -C \"my dir\" log push",
            "git -c user.name='A; push' log",
            "git \\\n pull; make push",
            "git log >push",
            "git pull # push",
            "git log $(make push)",
            "echo \"$(git log)\" push",
            "git status <<END\npush\nEND\n",
            "git commit -m \"push it, don't wait\"",
            "x=git; push",
        ] {
            assert!(!names(push, &of(&["bash", "-c", script])), "{script}");
        }
    }

    #[test]
    fn an_option_can_hold_a_script() {
        for argv in [
            &["env", "-Sgit push"][..],
            &["env", "-iS", "git push"],
            &["env", "-Sgit", "push"],
            &["env", "-S/usr/bin/git -C 'a b' push"],
            &["env", "--split-string=git push"],
            &["su", "--command=git push"],
            &["script", "-qcgit push"],
            &["sh", "-c", "script -qc\"git push\""],
        ] {
            assert!(names("git push *", &of(argv)), "{argv:?}");
        }
        for argv in [&["env", "-Sgit log push"][..], &["env", "--unset=x", "push"], &["make", "-Cgit push"]] {
            assert!(!names("git push *", &of(argv)), "{argv:?}");
        }
    }

    #[test]
    fn hostile_scripts_are_judged_in_time() {
        let is_named = |script: &str| names("git push *", &of(&["sh", "-c", script]));
        let many = |text: &str| text.repeat(1_000_000 / text.len());
        let began = std::time::Instant::now();
        for text in ["'", "\"", "'\"", "\\'"] {
            assert!(!is_named(&many(text)), "{text}");
        }
        for text in ["$(", "(", "${", "\"${", "\"$(", "<(", "$((", "<<a\n"] {
            assert!(is_named(&many(text)), "what cannot be judged is asked about: {text}");
        }
        for text in ["'a b' ", "-aaaaaaaa' ' "] {
            assert!(is_named(&text.repeat(16_000)), "so is what has too many scripts within it: {text}");
        }
        assert!(!is_named(&format!("{}true{}", "$(".repeat(20), ")".repeat(20))));
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{:?}", began.elapsed());
    }

    #[test]
    fn a_pattern_is_matched_as_it_is_read() {
        // Against the plain definition, over all short texts of two letters.
        fn slow(rule: &[u8], text: &[u8]) -> bool {
            match (rule, text) {
                ([], []) => true,
                ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| slow(rest, &text[skip..])),
                ([one, rule @ ..], [other, text @ ..]) if one == other => slow(rule, text),
                _ => false,
            }
        }
        let all = |letters: &[char]| {
            let mut all = vec![String::new()];
            for length in 0..5 {
                let longest: Vec<String> = all.iter().filter(|text| text.len() == length).cloned().collect();
                let longer =
                    longest.iter().flat_map(|text| letters.iter().map(move |c| format!("{text}{c}")));
                all.extend(longer);
            }
            all
        };
        for rule in all(&['a', 'b', '*']) {
            for text in all(&['a', 'b']) {
                assert_eq!(fits(&rule, &text), slow(rule.as_bytes(), text.as_bytes()), "{rule} {text}");
            }
        }
    }

    #[test]
    fn a_path_names_its_program_however_it_is_written() {
        for argv in [
            &["./deploy.sh"][..],
            &["/home/me/project/deploy.sh", "--now"],
            &["/home/me/project/./deploy.sh"],
            &["sh", "deploy.sh"],
            &["bash", "-x", "../project/deploy.sh", "now"],
        ] {
            assert!(names("./deploy.sh *", &of(argv)), "{argv:?}");
        }
        assert!(!names("./deploy.sh *", &of(&["./build.sh"])));
        assert!(!names("/opt/*", &of(&["/usr/bin/make"])), "any name is none");
        assert!(names("/opt/*", &of(&["/opt/tool", "now"])));
    }
}
