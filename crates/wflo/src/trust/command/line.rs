//! What a shell makes of a line, as far as that can be known without one.
//!
//! Which file a word names is decided by quotes, variables, globs and other commands. The user's own variables are known,
//! and where the command runs; whatever else a shell would put into a word is [`ANY`], or [`GLOB`].

/// Stands for what only a shell knows.
pub(super) const ANY: char = '\0';
/// Stands for a part that is like names of files.
pub(super) const GLOB: char = '\u{1}';

/// The value of a variable, if it is known.
pub(super) type Known<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The words of a line without their quotes, and those of the commands in them.
pub(super) fn words(line: &str, known: Known<'_>) -> Vec<String> {
    // What is quoted may be a line for another shell.
    let nested = raw(line).any(|word| word == "eval" || (word.starts_with('-') && word.ends_with('c')));
    let is_set = |name: &str| {
        let mut words = raw(line);
        words.any(|word| word == name || word.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
    };
    let moves = raw(line).any(|word| matches!(word, "cd" | "pushd" | "popd"));
    let known = |name: &str| if is_set(name) || (name == "PWD" && moves) { None } else { known(name) };
    let mut scan = Scan { known: &known, nested, words: Vec::new() };
    scan.line(&line.chars().collect::<Vec<_>>());
    scan.words
}

/// Where the words of a line begin and end, whatever is quoted.
fn raw(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| c.is_whitespace() || "\"'`;|&()<>".contains(c))
}

struct Scan<'a> {
    known: Known<'a>,
    nested: bool,
    words: Vec<String>,
}

impl Scan<'_> {
    fn line(&mut self, line: &[char]) {
        let mut word = String::new();
        let (mut at, mut quote) = (0, None);
        while let Some(&c) = line.get(at) {
            let rest = &line[at + 1..];
            at += 1;
            match c {
                '\\' if quote != Some('\'') => {
                    word.extend(rest.first());
                    at += 1;
                }
                _ if quote == Some(c) => quote = None,
                '\'' | '"' if quote.is_none() => {
                    quote = Some(c);
                    if self.nested {
                        let end = rest.iter().position(|end| *end == c).unwrap_or(rest.len());
                        self.line(&rest[..end]);
                    }
                }
                '$' if quote != Some('\'') || self.nested => at += self.dollar(rest, &mut word),
                '`' if quote != Some('\'') || self.nested => {
                    let end = rest.iter().position(|c| *c == '`').unwrap_or(rest.len());
                    self.command(&rest[..end], &mut word);
                    at += end + 1;
                }
                _ if quote.is_some() => word.push(c),
                '*' | '?' | '[' => word.push(GLOB),
                '{' if !word.is_empty() || rest.first().is_some_and(|c| !c.is_whitespace()) => {
                    word.push(GLOB)
                }
                '~' if word.is_empty() || word.ends_with(['=', ':']) => at += self.home(rest, &mut word),
                c if c.is_whitespace() || ";|&()<>".contains(c) => self.words.push(std::mem::take(&mut word)),
                c => word.push(c),
            }
        }
        self.words.push(word);
        self.words.retain(|word| !word.is_empty());
    }

    /// What stands for a `$`; how much of what follows it belongs to that.
    fn dollar(&mut self, rest: &[char], word: &mut String) -> usize {
        let name = |text: &[char]| -> String {
            text.iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '_').collect()
        };
        match rest.first() {
            Some('(') => {
                let end = closing(rest, '(', ')');
                self.command(&rest[1..end], word);
                end + 1
            }
            Some('{') => {
                let end = closing(rest, '{', '}');
                let within = &rest[1..end];
                let name = name(within);
                if name.len() == within.len() {
                    self.variable(&name, word);
                } else {
                    self.line(within);
                    word.push(ANY);
                }
                end + 1
            }
            Some(c) if c.is_ascii_alphabetic() || *c == '_' => {
                let name = name(rest);
                self.variable(&name, word);
                name.len()
            }
            Some(c) if c.is_ascii_digit() || "@*#?!-$".contains(*c) => {
                word.push(ANY);
                1
            }
            Some('\'' | '"') => {
                word.push(ANY);
                0
            }
            _ => {
                word.push('$');
                0
            }
        }
    }

    fn variable(&self, name: &str, word: &mut String) {
        match (self.known)(name) {
            Some(value) => word.push_str(&value),
            None => word.push(ANY),
        }
    }

    /// A command whose output stands in the word.
    fn command(&mut self, line: &[char], word: &mut String) {
        let text: String = line.iter().collect();
        if text.trim() == "pwd" {
            self.variable("PWD", word);
        } else {
            self.line(line);
            word.push(ANY);
        }
    }

    fn home(&self, rest: &[char], word: &mut String) -> usize {
        let whose: String =
            rest.iter().take_while(|c| !c.is_whitespace() && !"/;|&()<>:".contains(**c)).collect();
        match whose.as_str() {
            "" => self.variable("HOME", word),
            "+" => self.variable("PWD", word),
            _ => word.push(ANY),
        }
        whose.chars().count()
    }
}

/// Where what opens at the first of `text` is closed; its end where it is not.
fn closing(text: &[char], open: char, close: char) -> usize {
    let mut depth = 0;
    let end = text.iter().position(|c| {
        depth += i32::from(*c == open) - i32::from(*c == close);
        depth == 0
    });
    end.unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Vec<String> {
        let known = |name: &str| match name {
            "PWD" => Some("/project".to_owned()),
            "HOME" => Some("/home/u".to_owned()),
            _ => None,
        };
        words(line, &known).into_iter().map(|word| word.replace([ANY, GLOB], "<>")).collect()
    }

    #[test]
    fn a_line_is_read_as_a_shell_reads_it() {
        for (line, words) in [
            (r#""$PWD"/tools/key.sh"#, &["/project/tools/key.sh"][..]),
            ("${PWD}/a $(pwd)/b `pwd`/c ~+/d", &["/project/a", "/project/b", "/project/c", "/project/d"]),
            ("cat ~/.key $HOME/x ~root/y", &["cat", "/home/u/.key", "/home/u/x", "<>/y"]),
            ("sh t'ool's/\"key\".sh", &["sh", "tools/key.sh"]),
            ("sh too\\ls/key.sh;echo", &["sh", "tools/key.sh", "echo"]),
            ("./t*/key.sh", &["./t<>/key.sh"]),
            ("t{ools,x}/key.sh", &["t<>ools,x}/key.sh"]),
            ("$(git rev-parse --x)/k", &["git", "rev-parse", "--x", "<>/k"]),
            ("grep -o '[^/]*$' \"a*\"", &["grep", "-o", "[^/]*$", "a*"]),
            ("echo \"a $(cat 'x y') $1\"", &["echo", "cat", "x y", "a <> <>"]),
            ("$'\\x74'/k", &["<>\\x74/k"]),
            ("${X:-$PWD/k}", &["X:-/project/k", "<>"]),
            ("a $", &["a", "$"]),
        ] {
            assert_eq!(of(line), words, "{line}");
        }
    }

    #[test]
    fn what_the_line_sets_itself_is_not_known() {
        assert_eq!(of("HOME=x; sh $HOME/k"), ["HOME=x", "sh", "<>/k"]);
        assert_eq!(of("read HOME; sh $HOME/k"), ["read", "HOME", "sh", "<>/k"]);
        assert_eq!(of("cd tools && $PWD/k"), ["cd", "tools", "<>/k"]);
    }

    #[test]
    fn a_quoted_line_is_read_where_another_shell_may_run_it() {
        assert!(of("sh -c './t*/key.sh'").contains(&"./t<>/key.sh".to_owned()));
        assert!(of("eval \"sh '$PWD'/k\"").contains(&"/project/k".to_owned()));
        assert_eq!(of("sh './t*/key.sh'"), ["sh", "./t*/key.sh"]);
    }
}
