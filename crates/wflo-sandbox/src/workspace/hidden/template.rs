//! Templates of environment files (`.env.example`): what a program wants to be told, without the answers.
//!
//! Projects commit them, and who works on one needs them. Where somebody has written a real value into one it is
//! hidden as the file is that it is a template of.

use super::git;
use super::names::{assignments, could_be_secret, tokens};

/// How the name of a template begins, or ends where what it is a template of stands there.
const OF: [&str; 2] = [".env", ".dev.vars"];
/// What such a name says beside that.
const WORDS: [&str; 4] = ["example", "sample", "template", "dist"];
/// A value with one of these in it stands for another one.
const STAND_INS: [&str; 24] = [
    "your",
    "example",
    "sample",
    "change",
    "replace",
    "placeholder",
    "insert",
    "here",
    "dummy",
    "fake",
    "todo",
    "test",
    "demo",
    "local",
    "default",
    "secret",
    "pass",
    "token",
    "-key",
    "_key",
    "xxxx",
    "****",
    "....",
    "1234",
];

/// Whether a file of this name, in lower case, is a template: `.env.example`, `.env.prod-sample`, `template.env`.
pub(super) fn is_template(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let says = |rest: &str| {
        let last = rest.rsplit(['.', '-', '_']).next().unwrap_or(rest);
        WORDS.contains(&last)
    };
    let begins = OF.iter().filter_map(|of| name.strip_prefix(of));
    let mut parts = begins.filter(|rest| rest.starts_with(['.', '-', '_'])).chain(name.strip_suffix(".env"));
    parts.any(says)
}

/// Whether somebody has written a value into a template that is not to be known. In lower case.
pub(super) fn holds_secret(lower: &[u8]) -> bool {
    let text = String::from_utf8_lossy(lower);
    text.contains("private key-----")
        || tokens(lower).any(|token| !stands_in(&String::from_utf8_lossy(token)))
        || assignments(&text)
            .any(|(word, value)| could_be_secret(word, value).is_some_and(|it| !stands_in(it)))
        || git::users(lower).any(|user| has_password(&String::from_utf8_lossy(user)))
}

/// Whether the part of an address before its host has a password that is one: `postgres:postgres` has none.
fn has_password(user: &str) -> bool {
    user.split_once(':').is_some_and(|(name, password)| {
        password != name && could_be_secret(name, password).is_some_and(|it| !stands_in(it))
    })
}

fn stands_in(value: &str) -> bool {
    STAND_INS.iter().any(|word| value.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_known_by_its_name() {
        for name in [
            ".env.example",
            ".env.sample",
            ".env-template",
            ".env_dist",
            ".env.production.example",
            "example.env",
            ".sample.env",
            "prod.template.env",
            ".dev.vars.example",
        ] {
            assert!(is_template(name.as_bytes()), "{name}");
        }
        for name in [
            ".env",
            ".env.local",
            ".env.example.local",
            ".env.example~",
            ".env.examples",
            ".envexample",
            "prod.env",
            ".example.env.bak",
            "example",
            ".dev.vars",
        ] {
            assert!(!is_template(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_template_is_no_secret_and_one_with_a_real_value_in_it_is() {
        for plain in [
            "OPENAI_API_KEY=\nDEBUG=true\n",
            "OPENAI_API_KEY=sk-your-key-here-0123456789\n",
            "ANTHROPIC_API_KEY=sk-ant-xxxxxxxxxxxxxxxxxxxxxxxx\n",
            "DATABASE_URL=postgres://user:password@localhost:5432/app\n",
            "DATABASE_URL=postgresql://postgres:postgres@db/app\n",
            "JWT_SECRET=change_me\nPASSWORD=\"<your password>\"\n",
            "REDIS_URL=redis://localhost:6379\nTOKEN_LIFETIME=3600\n",
        ] {
            assert!(!holds_secret(plain.to_ascii_lowercase().as_bytes()), "{plain}");
        }
        for secret in [
            "OPENAI_API_KEY=sk-proj-Zq81nC0vLr4TmW7bXy29\n",
            "# ghp_Zq81nC0vLr4TmW7bXy29Zq81nC0vLr4TmW7b\n",
            "DB_PASSWORD=hunter22\n",
            "DATABASE_URL=postgres://app:hunter22@db.internal/app\n",
            "A=https://x/\nB=amqp://a:a@q/\nC=amqp://a:Zq81nC0v@q/\n",
            "KEY=\"-----BEGIN RSA PRIVATE KEY-----\"\n",
        ] {
            assert!(holds_secret(secret.to_ascii_lowercase().as_bytes()), "{secret}");
        }
    }
}
