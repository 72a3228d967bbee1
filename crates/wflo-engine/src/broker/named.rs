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
    rule.names_an_end(&words)
        || argv.iter().skip(1).filter(|word| is_script(word)).any(|script| {
            script.split(ENDS).any(|command| {
                let words = words_of(command);
                rule.names_an_end(&words.iter().map(String::as_str).collect::<Vec<_>>())
            })
        })
}

/// Whether a word may be more than one.
fn is_script(word: &str) -> bool {
    word.contains(|c: char| c.is_whitespace() || ENDS.contains(&c) || QUOTES.contains(&c))
}

/// The words of one command of a script, without what quotes them.
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
        let mut begins = (0..words.len()).filter(|first| self.may_begin(words[*first]));
        // So many beginnings are no command that a person wrote: that takes long to judge, and is asked about.
        (0..=MOST).any(|tried| match begins.next() {
            Some(first) => tried == MOST || self.names(&words[first..]),
            None => false,
        })
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
        let is_option = |word: &str| word.len() > 1 && word.starts_with('-');
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
