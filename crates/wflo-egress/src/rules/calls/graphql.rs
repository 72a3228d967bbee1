//! The fields at the root of a GraphQL document (specification of October 2021, section 2).
//!
//! Not a whole parser: what stands below the root is skipped by its brackets. A fragment at the root is refused,
//! because what it asks for stands elsewhere.

use super::CallError;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It reads.
    Query,
    /// It writes.
    Mutation,
    /// It reads on.
    Subscription,
}

impl Kind {
    pub(crate) fn named(name: &str) -> Option<Kind> {
        [Kind::Query, Kind::Mutation, Kind::Subscription].into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Query => "query",
            Kind::Mutation => "mutation",
            Kind::Subscription => "subscription",
        }
    }
}

/// The deepest nesting of brackets.
const DEPTH: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Mark(u8),
    Spread,
    Name(String),
    /// A number or a text.
    Literal,
}

const BROKEN: CallError = CallError::Unreadable("its query is no GraphQL document");

/// Every operation's kind, with every field at its root.
pub(super) fn roots(query: &str) -> Result<Vec<(Kind, String)>, CallError> {
    let mut tokens = Tokens { rest: query.as_bytes(), ahead: None };
    let mut found = Vec::new();
    while let Some(first) = tokens.take()? {
        match first {
            Token::Mark(b'{') => selection(&mut tokens, Kind::Query, &mut found)?,
            Token::Name(word) if word == "fragment" => {
                // Its name, `on`, its type.
                for _ in 0..3 {
                    tokens.name()?;
                }
                tokens.directives()?;
                tokens.mark(b'{')?;
                tokens.skip(b'{')?;
            }
            Token::Name(word) => {
                let kind = Kind::named(&word).ok_or(BROKEN)?;
                if matches!(tokens.peek()?, Some(Token::Name(_))) {
                    tokens.take()?;
                }
                tokens.arguments()?;
                tokens.directives()?;
                tokens.mark(b'{')?;
                selection(&mut tokens, kind, &mut found)?;
            }
            _ => return Err(BROKEN),
        }
    }
    if found.is_empty() { Err(BROKEN) } else { Ok(found) }
}

fn selection(tokens: &mut Tokens<'_>, kind: Kind, found: &mut Vec<(Kind, String)>) -> Result<(), CallError> {
    loop {
        match tokens.take()?.ok_or(BROKEN)? {
            Token::Mark(b'}') => return Ok(()),
            Token::Spread => {
                return Err(CallError::Unreadable("a fragment stands at the root of an operation"));
            }
            Token::Name(name) => {
                let name = match tokens.peek()? {
                    // It was the name that the answer has.
                    Some(Token::Mark(b':')) => {
                        tokens.take()?;
                        tokens.name()?
                    }
                    _ => name,
                };
                found.push((kind, name));
                tokens.arguments()?;
                tokens.directives()?;
                if matches!(tokens.peek()?, Some(Token::Mark(b'{'))) {
                    tokens.take()?;
                    tokens.skip(b'{')?;
                }
            }
            _ => return Err(BROKEN),
        }
    }
}

struct Tokens<'a> {
    rest: &'a [u8],
    ahead: Option<Token>,
}

impl Tokens<'_> {
    fn take(&mut self) -> Result<Option<Token>, CallError> {
        match self.ahead.take() {
            Some(token) => Ok(Some(token)),
            None => self.read(),
        }
    }

    fn peek(&mut self) -> Result<Option<&Token>, CallError> {
        if self.ahead.is_none() {
            self.ahead = self.read()?;
        }
        Ok(self.ahead.as_ref())
    }

    fn name(&mut self) -> Result<String, CallError> {
        match self.take()? {
            Some(Token::Name(name)) => Ok(name),
            _ => Err(BROKEN),
        }
    }

    fn mark(&mut self, mark: u8) -> Result<(), CallError> {
        if self.take()? == Some(Token::Mark(mark)) { Ok(()) } else { Err(BROKEN) }
    }

    fn arguments(&mut self) -> Result<(), CallError> {
        if matches!(self.peek()?, Some(Token::Mark(b'('))) {
            self.take()?;
            self.skip(b'(')?;
        }
        Ok(())
    }

    fn directives(&mut self) -> Result<(), CallError> {
        while matches!(self.peek()?, Some(Token::Mark(b'@'))) {
            self.take()?;
            self.name()?;
            self.arguments()?;
        }
        Ok(())
    }

    /// Skips to the end of the bracket that was opened.
    fn skip(&mut self, opened: u8) -> Result<(), CallError> {
        let closing = |open: u8| match open {
            b'(' => b')',
            b'[' => b']',
            _ => b'}',
        };
        let mut open = vec![closing(opened)];
        while let Some(wanted) = open.last().copied() {
            match self.take()?.ok_or(BROKEN)? {
                Token::Mark(mark @ (b'(' | b'[' | b'{')) if open.len() < DEPTH => open.push(closing(mark)),
                Token::Mark(b'(' | b'[' | b'{') => return Err(BROKEN),
                Token::Mark(mark) if mark == wanted => drop(open.pop()),
                Token::Mark(b')' | b']' | b'}') => return Err(BROKEN),
                _ => {}
            }
        }
        Ok(())
    }

    fn read(&mut self) -> Result<Option<Token>, CallError> {
        loop {
            let Some((first, after)) = self.rest.split_first() else { return Ok(None) };
            match first {
                b' ' | b'\t' | b'\n' | b',' => self.rest = after,
                // Alone it ends a line for some and not for others.
                b'\r' if after.first() == Some(&b'\n') => self.rest = after,
                b'#' => {
                    let end = after.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                    let (comment, rest) = after.split_at(end.unwrap_or(after.len()));
                    // Other scripts have line ends of their own.
                    if !comment.is_ascii() {
                        return Err(BROKEN);
                    }
                    self.rest = rest;
                }
                b'"' => return self.text().map(Some),
                b'.' => {
                    let spread = self.rest.strip_prefix(b"...").ok_or(BROKEN)?;
                    self.rest = spread;
                    return Ok(Some(Token::Spread));
                }
                b'!' | b'$' | b'&' | b'(' | b')' | b':' | b'=' | b'@' | b'[' | b']' | b'{' | b'|' | b'}' => {
                    self.rest = after;
                    return Ok(Some(Token::Mark(*first)));
                }
                byte if byte.is_ascii_alphabetic() || *byte == b'_' => {
                    let name = self.run(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
                    return Ok(Some(Token::Name(String::from_utf8_lossy(name).into_owned())));
                }
                byte if byte.is_ascii_digit() || *byte == b'-' => {
                    self.run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.'));
                    return Ok(Some(Token::Literal));
                }
                _ => return Err(BROKEN),
            }
        }
    }

    fn run(&mut self, belongs: impl Fn(&u8) -> bool) -> &[u8] {
        let end = self.rest.iter().position(|byte| !belongs(byte)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        run
    }

    fn text(&mut self) -> Result<Token, CallError> {
        if let Some(block) = self.rest.strip_prefix(b"\"\"\"") {
            let mut rest = block;
            loop {
                if let Some(after) = rest.strip_prefix(b"\\\"\"\"") {
                    rest = after;
                } else if let Some(after) = rest.strip_prefix(b"\"\"\"") {
                    self.rest = after;
                    return Ok(Token::Literal);
                } else {
                    rest = rest.get(1..).ok_or(BROKEN)?;
                }
            }
        }
        let mut rest = self.rest.get(1..).ok_or(BROKEN)?;
        loop {
            match rest {
                [b'\\', escaped, after @ ..] if b"\"\\/bfnrtu".contains(escaped) => rest = after,
                [b'"', after @ ..] => {
                    self.rest = after;
                    return Ok(Token::Literal);
                }
                [b'\\' | b'\n' | b'\r', ..] | [] => return Err(BROKEN),
                [_, after @ ..] => rest = after,
            }
        }
    }
}
