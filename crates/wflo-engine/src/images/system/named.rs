//! The name of a package of a distribution, as a project writes it: `jq`, `jq=1.6-2.1`, `jq=1.6*`.
//!
//! What is no name could be an option, a pattern or an order to remove something (`jq-`) to who installs it.

use std::fmt;
use std::str::FromStr;

/// A name is not longer.
const LONGEST: usize = 100;

/// A package, and which version of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    name: String,
    version: Option<String>,
}

/// Why something names no package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotNamed {
    /// Its name is none.
    #[error("it is no name of a package: lower-case letters and digits, then also `+`, `-` and `.`")]
    Name,
    /// It ends in what removes packages.
    #[error("a name that ends in `-` asks for a package to be removed")]
    Removal,
    /// Its version is none.
    #[error(
        "its version is none: digits and letters, with `.`, `+`, `~`, `-` and `:`, and a `*` at its end for any that begins so"
    )]
    Version,
}

impl Named {
    /// Without the version.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a version of the package is what is asked for.
    #[must_use]
    pub(super) fn accepts(&self, version: &str) -> bool {
        match self.version.as_deref().map(|wanted| (wanted, wanted.strip_suffix('*'))) {
            None => true,
            Some((_, Some(begins))) => version.starts_with(begins),
            Some((wanted, None)) => wanted == version,
        }
    }
}

impl FromStr for Named {
    type Err = NotNamed;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, version) = match text.split_once('=') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = name.bytes().next().is_some_and(plain)
            && (2..=LONGEST).contains(&name.len())
            && name.bytes().all(|byte| plain(byte) || b"+-.".contains(&byte));
        if !is_name {
            return Err(NotNamed::Name);
        }
        if name.ends_with('-') {
            return Err(NotNamed::Removal);
        }
        let is_version = |version: &str| {
            let plain = version.strip_suffix('*').unwrap_or(version);
            plain.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
                && version.len() <= LONGEST
                && plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+~-:".contains(&byte))
        };
        if version.is_some_and(|version| !is_version(version)) {
            return Err(NotNamed::Version);
        }
        Ok(Named { name: name.to_owned(), version: version.map(str::to_owned) })
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            None => f.write_str(&self.name),
            Some(version) => write!(f, "{}={version}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_a_name_and_perhaps_a_version() {
        for text in
            ["jq", "g++", "libstdc++6", "poppler-utils=22.12.0-2+deb12u1", "jq=1.6*", "r0=1:2.3~rc1-4"]
        {
            assert_eq!(text.parse::<Named>().unwrap().to_string(), text);
        }
        let accepts = |text: &str, version: &str| text.parse::<Named>().unwrap().accepts(version);
        assert!(accepts("jq", "9") && accepts("jq=1.6*", "1.6-2.1") && accepts("jq=1.6", "1.6"));
        assert!(!accepts("jq=1.6", "1.6-2.1") && !accepts("jq=1.6*", "1.5"));
    }

    #[test]
    fn what_an_installer_would_read_as_anything_else_is_none() {
        for text in [
            "",
            "j",
            "-y",
            "--allow-unauthenticated",
            "jq-",
            "Jq",
            "jq/stable",
            "jq:i386",
            "jq ",
            " jq",
            "jq\n",
            "jq^",
            "?name(jq)",
            "~njq",
            "jq*",
            "jq_",
            "../jq",
            "./jq.deb",
            "/tmp/jq.deb",
            "jq=",
            "jq=*",
            "jq=-1",
            "jq=1 2",
            "jq=1/2",
            "jq==1",
            "jq=1*2",
            "jq=1;2",
            "jq=$(x)",
            "jq,tree",
            "é",
            "jq=1\u{a0}",
        ] {
            assert!(text.parse::<Named>().is_err(), "{text:?}");
        }
        assert_eq!("jq-".parse::<Named>(), Err(NotNamed::Removal));
        assert!("a".repeat(101).parse::<Named>().is_err());
    }
}
