//! Why there are no packages.

use std::path::PathBuf;

use wflo_core::error::{Code, Coded, Failure};
use wflo_core::size::Bytes;
use wflo_sandbox::workspace::WorkspaceError;

use crate::error::EngineError;

/// No rule allows a host.
const DENIED: Code = Code(5202);
/// A host's address is no public one.
const SPECIAL: Code = Code(5203);

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file of requirements says what is not read, or cannot be read.
    #[error("{place}: {why}")]
    Requirements {
        /// `requirements.txt:3`.
        place: String,
        /// What is wrong.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// The address of an index cannot be used.
    #[error("`{address}` is no index that packages are fetched from: {why}")]
    Index {
        /// Without what is secret in it.
        address: String,
        /// What is wrong.
        why: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// It is not there, and may not be built now.
    #[error("the packages of {what} are not installed, and may not be now")]
    NotBuilt {
        /// What names them.
        what: String,
    },
    /// The interpreter cannot have packages.
    #[error("packages cannot be installed for {}: {why}", program.display())]
    NoInterpreter {
        /// Which.
        program: PathBuf,
        /// Why.
        why: String,
    },
    /// Nothing that installs packages.
    #[error("{} has no pip, and nothing that it could be made of", program.display())]
    NoPip {
        /// The interpreter.
        program: PathBuf,
    },
    /// Nothing here that fetches programs of a distribution.
    #[error("packages of a distribution cannot be fetched on this machine: {why}")]
    NoSystem {
        /// What is missing.
        why: String,
    },
    /// No place that programs of a distribution could be fetched from.
    #[error("this machine names no place that packages could be fetched from")]
    NoSources {
        /// Sources that are there and cannot be used.
        left_out: Vec<String>,
    },
    /// Nobody has such a package, or it in this version.
    #[error("no source of this machine has {}", if versions.is_empty() { format!("a package `{name}`") } else { format!("`{name}` in the version that is asked for") })]
    NoPackage {
        /// Its name.
        name: String,
        /// Names that are like it.
        near: Vec<String>,
        /// Versions that there are.
        versions: Vec<String>,
        /// Sources that were not asked.
        left_out: Vec<String>,
    },
    /// Packages of this machine would not stay what they are.
    #[error("{what} would replace or remove packages of this machine: {}", packages.join(", "))]
    Replaces {
        /// What was asked for.
        what: String,
        /// Which, and by what.
        packages: Vec<String>,
    },
    /// They cannot be had together, or not beside what is installed here.
    #[error("{what} cannot be installed beside what this machine has: {why}")]
    Unresolved {
        /// What was asked for.
        what: String,
        /// The installer's first word of it.
        why: String,
        /// What it said in the end.
        said: String,
    },
    /// A source does not answer, is not signed, or gave out something else than its index says.
    #[error("{what} could not be fetched: {}", cause(why, refused))]
    Unfetched {
        /// What was asked for.
        what: String,
        /// The installer's first word of it.
        why: String,
        /// What it said in the end.
        said: String,
        /// Connections that were refused.
        refused: Vec<Failure>,
        /// Sources that were not asked.
        left_out: Vec<String>,
    },
    /// A package holds what no image may.
    #[error("the package {package} cannot be unpacked: {why}")]
    Unusable {
        /// Which.
        package: String,
        /// What is wrong.
        why: String,
        /// What was said in the end.
        said: String,
    },
    /// The installer has failed.
    #[error("the packages of {what} could not be installed: {}", cause(why, refused))]
    Failed {
        /// What names them.
        what: String,
        /// Its last line that says so.
        why: String,
        /// What it said in the end.
        said: String,
        /// Connections that were refused.
        refused: Vec<Failure>,
    },
    /// It needs more than it may have.
    #[error("the packages of {what} need more than {limit} while they are installed")]
    TooLarge {
        /// What names them.
        what: String,
        /// What there was.
        limit: Bytes,
    },
    /// It took too long.
    #[error("installing the packages of {what} took longer than {minutes} minutes")]
    TooSlow {
        /// What names them.
        what: String,
        /// How many.
        minutes: u64,
    },
    /// A run's packages are not there any more.
    #[error("the packages that the run was started with are not there any more ({key})")]
    Gone {
        /// The image.
        key: String,
    },
    /// A file of the images cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What was installed cannot be kept.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// No sandbox to build in; a secret that cannot be had; and the like.
    #[error("{}", .0.message)]
    Failure(Failure),
    /// Something of this process broke.
    #[error("packages: {0}")]
    Broken(String),
}

/// Why there is none: what was refused on the way comes before what an installer makes of it.
fn cause(why: &str, refused: &[Failure]) -> String {
    refused.first().map_or_else(|| why.to_owned(), said)
}

fn said(refused: &Failure) -> String {
    format!("{} [{}]", refused.message, refused.code)
}

/// What to do about connections that were refused.
fn way(to: &str, refused: &[Failure]) -> String {
    let has = |code: Code| refused.iter().any(|refused| refused.code == code.to_string());
    let fixes = [
        (has(DENIED), format!("name further hosts of {to} with index_hosts under [sandbox]")),
        (
            has(SPECIAL),
            "allow the address, if it is one of your own network, with allow_addresses under [sandbox]"
                .to_owned(),
        ),
    ];
    let fixes: Vec<String> = fixes.into_iter().filter_map(|(is_so, fix)| is_so.then_some(fix)).collect();
    let own = || refused.first().and_then(|refused| refused.hint.clone());
    let mut text = match fixes.as_slice() {
        [] => own().unwrap_or_else(|| format!("look at the way to {to}")),
        fixes => fixes.join(", and "),
    };
    if let Some(others) = refused.get(1..).filter(|others| !others.is_empty()) {
        let others = others.iter().map(said).collect::<Vec<_>>().join("; ");
        text.push_str(&format!("; refused on the way was also: {others}"));
    }
    text
}

impl From<Failure> for ImageError {
    fn from(failure: Failure) -> Self {
        ImageError::Failure(failure)
    }
}

impl ImageError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> ImageError {
        let path = path.into();
        move |source| ImageError::Io { path, source }
    }
}

impl Coded for ImageError {
    fn code(&self) -> Code {
        Code(match self {
            ImageError::Requirements { .. } => 5326,
            ImageError::Index { .. } => 5327,
            ImageError::NotBuilt { .. } => 5328,
            ImageError::NoInterpreter { .. } => 5329,
            ImageError::NoPip { .. } => 5330,
            ImageError::NoSystem { .. } => 5283,
            ImageError::NoPackage { .. } => 5284,
            ImageError::Replaces { .. } => 5285,
            ImageError::Unresolved { .. } => 5286,
            ImageError::Unfetched { .. } => 5287,
            ImageError::Unusable { .. } => 5288,
            ImageError::NoSources { .. } => 5289,
            ImageError::Failed { .. } => 5331,
            ImageError::TooLarge { .. } => 5332,
            ImageError::TooSlow { .. } => 5333,
            ImageError::Gone { .. } => 5334,
            ImageError::Io { .. } => 5335,
            ImageError::Workspace(error) => return error.code(),
            ImageError::Broken(_) | ImageError::Failure(_) => 9003,
        })
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            ImageError::Requirements { hint, .. } | ImageError::Index { hint, .. } => (*hint).to_owned(),
            ImageError::NotBuilt { .. } => {
                "`wflo sandbox images build` installs them; or leave --no-build out".to_owned()
            }
            ImageError::NoInterpreter { .. } => {
                "name an installed Python with WFLO_PYTHON, or a virtual environment that was made of one".to_owned()
            }
            ImageError::NoPip { .. } => "install pip for it (`apt-get install python3-pip python3-venv` on Debian), or \
                                         name a Python that has pip or ensurepip with WFLO_PYTHON"
                .to_owned(),
            ImageError::NoSystem { .. } => "they come from Debian's or Ubuntu's own apt: elsewhere install the programs on the \
                                            machine, or use the backend \"docker\" with an image that has them"
                .to_owned(),
            ImageError::NoSources { left_out } if left_out.is_empty() => {
                "name one in /etc/apt/sources.list.d, as `apt-get update` needs it, too".to_owned()
            }
            ImageError::NoSources { left_out } => format!("left out: {}", left_out.join("; ")),
            ImageError::NoPackage { versions, .. } if !versions.is_empty() => {
                format!("there is {}; `NAME=1.2*` takes any that begins so", versions.join(", "))
            }
            ImageError::NoPackage { near, .. } if !near.is_empty() => {
                format!("did you mean {}?", near.join(" or "))
            }
            ImageError::NoPackage { left_out, .. } if !left_out.is_empty() => {
                format!("not asked were: {}", left_out.join("; "))
            }
            ImageError::NoPackage { .. } => {
                "`apt-cache search WORD` on this machine finds names of packages".to_owned()
            }
            ImageError::Replaces { .. } => "steps see the machine's own packages, which stay as they are: bring those up to \
                                            date there (`apt-get install --only-upgrade NAME`), ask for a version that \
                                            fits them, or use an image"
                .to_owned(),
            ImageError::Unresolved { .. } => {
                "its words are above; `apt-get -s install NAME` on this machine says the same at length".to_owned()
            }
            ImageError::Unfetched { refused, .. } if !refused.is_empty() => way("the sources", refused),
            ImageError::Unfetched { left_out, .. } if !left_out.is_empty() => {
                format!("look at the way to the sources; left out were: {}", left_out.join("; "))
            }
            ImageError::Unfetched { .. } => {
                "look at the way to the sources: `apt-get update` on this machine asks the same ones".to_owned()
            }
            ImageError::Unusable { .. } => {
                "packages with devices, or with files outside of their own tree, belong into an image".to_owned()
            }
            ImageError::Failed { refused, said, .. } => match refused.as_slice() {
                [] if said.contains("No matching distribution") => {
                    "the index has no wheel of it for this Python and machine: ask for another version, or allow \
                     source_builds = true under [sandbox]"
                        .to_owned()
                }
                [] => "its last words are above; `wflo sandbox images build` tries it again".to_owned(),
                refused => way("the index", refused),
            },
            ImageError::TooLarge { .. } => {
                "raise build_disk_limit under [sandbox]; it is taken from this machine's memory while packages are \
                 installed"
                    .to_owned()
            }
            ImageError::TooSlow { .. } => "look at the way to the index, then try again".to_owned(),
            ImageError::Gone { .. } => {
                "`wflo runs retry ID` starts the run with what wflo.toml asks for now".to_owned()
            }
            ImageError::Workspace(error) => return error.hint(),
            ImageError::Failure(failure) => return failure.hint.clone(),
            ImageError::Io { .. } | ImageError::Broken(_) => return None,
        })
    }

    fn to_failure(&self) -> Failure {
        let mut failure = match self {
            ImageError::Failure(failure) => return failure.clone(),
            other => Failure::new(other.code(), other.to_string()),
        };
        failure.hint = self.hint();
        if let ImageError::Failed { said, .. }
        | ImageError::Unresolved { said, .. }
        | ImageError::Unfetched { said, .. }
        | ImageError::Unusable { said, .. } = self
        {
            failure.traceback = (!said.is_empty()).then(|| said.clone());
        }
        failure
    }
}

impl From<ImageError> for EngineError {
    fn from(error: ImageError) -> Self {
        EngineError::Failure(error.to_failure())
    }
}
