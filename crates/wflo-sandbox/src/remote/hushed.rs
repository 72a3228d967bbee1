//! What no word of a keeper, or of who is around it, may repeat to a person: the key to a cloud, which that cloud
//! knows.

use std::fmt;
use std::sync::Arc;

/// Texts that are taken out of whatever is told. It does not print.
#[derive(Clone, Default)]
pub(crate) struct Hushed(Arc<[String]>);

impl Hushed {
    /// The same, and one more.
    pub(crate) fn and(&self, secret: &str) -> Hushed {
        let more = (!secret.is_empty()).then(|| secret.to_owned());
        Hushed(self.0.iter().cloned().chain(more).collect())
    }

    /// A text for a person: without the secrets, on one line, so many characters at most.
    pub(crate) fn told(&self, text: &str, most: usize) -> String {
        let mut text = text.to_owned();
        for secret in self.0.iter() {
            text = text.replace(secret, "…");
        }
        let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        plain.take(most).collect::<String>().trim().to_owned()
    }

    /// How much more than it shows one has to keep of a text, in bytes: a secret that is cut is not found.
    pub(crate) fn longest(&self) -> usize {
        self.0.iter().map(String::len).max().unwrap_or(0)
    }
}

impl fmt::Debug for Hushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hushed({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_holds_no_secret_and_no_command_of_a_terminal() {
        let hushed = Hushed::default().and("e2b_secret").and("").and("token");
        assert_eq!(hushed.told("no e2b_secret,\n\u{1b}[2Jno token", 99), "no …,  [2Jno …");
        assert_eq!(hushed.told("cut e2b_secret", 6), "cut …", "found before it is cut");
        assert_eq!(hushed.longest(), 10);
        assert!(!format!("{hushed:?}").contains("secret"));
    }
}
