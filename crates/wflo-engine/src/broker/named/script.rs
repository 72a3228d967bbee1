//! A script, split into commands and words as a shell does it: quotes, substitutions, redirections, here-documents.

/// Substitutions and subshells within each other that are read.
const DEEPEST: usize = 32;

/// A script as a shell splits it. Of `$(…)`, `` `…` ``, `${…}`, `(…)` and `<(…)` a `$` stays in the word around; the
/// commands in them are commands of their own.
#[derive(Default)]
pub(super) struct Reader<'a> {
    rest: &'a str,
    pub(super) commands: Vec<Vec<String>>,
    /// What may be scripts, too: between backquotes, here-documents, targets of redirections.
    pub(super) scripts: Vec<String>,
    /// The here-documents that begin on the next line: the line that ends each, and whether tabs may precede it.
    here: Vec<(String, bool)>,
    /// So many bytes may still be read more than once.
    pub(super) work: usize,
    /// It is nested too deeply, or takes too long: nobody knows what it does.
    pub(super) is_too_much: bool,
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
    pub(super) fn read(script: &'a str, work: usize) -> Reader<'a> {
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
