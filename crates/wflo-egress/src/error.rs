//! What is wrong with a rule.

use wflo_core::error::{Code, Coded};

use crate::address::NetError;
use crate::host::TargetError;

/// A text that is no rule, or no address that may be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Its host or port.
    #[error("`{rule}` is not a host that can be allowed: {why}")]
    Target {
        /// The rule as it was written.
        rule: String,
        /// Why.
        why: TargetError,
    },
    /// A wildcard that means too much, or stands elsewhere than in front.
    #[error(
        "`{rule}` is not a host that can be allowed: `*.` stands in front of a name of two labels or more"
    )]
    Wildcard {
        /// The rule as it was written.
        rule: String,
    },
    /// The scheme.
    #[error("`{rule}` begins with something else than https://, http:// or tcp://")]
    Scheme {
        /// The rule as it was written.
        rule: String,
    },
    /// `tcp://` without a port.
    #[error("`{rule}` needs a port: any bytes are let through to it")]
    NoPort {
        /// The rule as it was written.
        rule: String,
    },
    /// A method that is none.
    #[error("`{rule}` begins with something else than methods in capitals, such as GET or GET,HEAD")]
    Method {
        /// The rule as it was written.
        rule: String,
    },
    /// A path that cannot be compared.
    #[error(
        "the path of `{rule}` is not plain: it begins with /, has no empty, `.` or `..` part, no escapes; `*` is a whole part, `**` the last"
    )]
    Path {
        /// The rule as it was written.
        rule: String,
    },
    /// A part of a host, without the scheme.
    #[error("`{rule}` names methods, a path or calls, and not whether of https:// or of http://")]
    NoScheme {
        /// The rule as it was written.
        rule: String,
    },
    /// Calls that are none.
    #[error(
        "the end of `{rule}` names no calls, such as tools=search,read_* or graphql=query,mutation:addStar"
    )]
    Calls {
        /// The rule as it was written.
        rule: String,
    },
    /// An address that may be reached although it is not public.
    #[error(transparent)]
    Address(#[from] NetError),
    /// A workflow asks for hosts that nobody has allowed.
    #[error("the workflow wants to reach {wanted}, which nobody has allowed")]
    NotAllowed {
        /// The rules that it asks for.
        wanted: String,
    },
}

impl Coded for RuleError {
    fn code(&self) -> Code {
        match self {
            RuleError::NotAllowed { .. } => Code(5201),
            _ => Code(5200),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            RuleError::NotAllowed { .. } => {
                "say so yourself: with --allow-host HOST, or as allow_hosts under [sandbox] in wflo.toml".to_owned()
            }
            RuleError::NoScheme { .. } => "write https:// or http:// in front of the host".to_owned(),
            RuleError::Address(_) => "write 10.1.2.3, 10.1.0.0/16 or fd00::/8".to_owned(),
            _ => "write api.example.org, *.example.org, api.example.org:8443, or GET http://api.example.org/status/**"
                .to_owned(),
        })
    }
}
