//! Programs of the machine's distribution, as its own apt fetches them and dpkg-deb unpacks them.
//!
//! apt verifies what it fetches against an index that is signed by a key of this machine. It runs in the build's
//! sandbox with settings that are written here: those of the machine may name programs to run, and passwords.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use wflo_sandbox::workspace::Pin;
use wflo_sandbox::{Bind, EGRESS_PORT, HOME, Outcome, Preset, Spec};

use super::super::error::ImageError;
use super::super::store::{Held, Kind, Record};
use super::super::system::{APT, Basis, Found, INSIDE, Programs, STATUS};
use super::super::{Builder, Building, Progress};
use super::network::Sight;
use super::{Work, Worked, last_lines, once};
use crate::sandboxed::pipe;

/// What runs inside.
const INSTALL: &str = include_str!("install.sh");
/// Where what it writes is.
const TARGET: &str = "/opt/wflo/system";
/// Where the machine's apt keeps what it knows of its sources.
const LISTS: &str = "/var/lib/apt/lists";
/// The descriptor on which it tells what it has found.
const TELLS: i32 = 3;
/// The most of that, in bytes: the names of all packages of a distribution are a few MB.
const MOST: u64 = 16 << 20;
/// How it ends.
const UNKNOWN: i32 = 94;
const REPLACES: i32 = 95;
const UNRESOLVED: i32 = 96;
const UNFETCHED: i32 = 97;
const UNUSABLE: i32 = 98;

/// Builds the programs of `key`, or finds them built once nobody else does; whether it built them.
pub(in super::super) async fn system(
    builder: &Builder,
    key: &str,
    wanted: &Programs,
    basis: &Basis,
    building: Building,
    told: &mpsc::Sender<Progress>,
) -> Result<(Record, Held, bool), ImageError> {
    let make = async || install(builder, key, wanted, basis, told).await;
    once(builder, key, building, told, make).await
}

async fn install(
    builder: &Builder,
    key: &str,
    wanted: &Programs,
    basis: &Basis,
    told: &mpsc::Sender<Progress>,
) -> Result<(Record, Pin), ImageError> {
    let broken = |e: std::io::Error| ImageError::Broken(e.to_string());
    let (tells, tells_in) = pipe().map_err(broken)?;
    let missing = wanted.missing(&basis.machine)?;
    let mut command = vec!["/bin/sh".to_owned(), "-c".to_owned(), INSTALL.to_owned(), "install".to_owned()];
    command.push(TARGET.to_owned());
    command.extend(missing.iter().map(ToString::to_string));
    let mut spec = Spec::new(command);
    spec.env = vec![("APT_CONFIG".into(), format!("{HOME}/apt/apt.conf").into())];
    spec.home = vec![("apt/apt.conf".into(), settings().into())];
    let files = basis.sources.files.iter();
    spec.home.extend(files.map(|(name, text)| (Path::new("apt").join(name), text.into())));
    spec.preset = Preset::Build;
    spec.fds = vec![(tells_in, TELLS)];
    let mut binds = basis.sources.binds(Path::new(APT));
    let lists = Path::new(LISTS);
    binds.extend(lists.is_dir().then(|| Bind::new(lists, Path::new(INSIDE).join("lists"))));
    for file in [STATUS, "/var/lib/dpkg/arch"].map(Path::new) {
        binds.extend(file.is_file().then(|| Bind::same(file)));
    }
    let rules = basis.sources.rules.iter().chain(&wanted.hosts).cloned().collect();
    let sight = Sight::default();
    let (target, disk, folders, shortens) = (TARGET, wanted.disk, Vec::new(), true);
    let work = Work { spec, target, disk, folders, binds, rules, sight, shortens };
    let heard = tokio::spawn(hear(tells));
    let worked = work.run(builder, told).await?;
    let found = Found::read(&heard.await.unwrap_or_default());
    if worked.outcome != Outcome::Exited(0) {
        return Err(failure(&worked, wanted, basis, &found));
    }
    wanted.check(&missing, &found)?;
    let captured = worked.seal(&builder.images, wanted.disk).await?;
    let mut packages: Vec<String> =
        found.files.iter().map(|file| format!("{}={}", file.name, file.version)).collect();
    packages.sort();
    let record = Record {
        key: key.to_owned(),
        kind: Kind::System,
        tree: captured.layer.id,
        python: None,
        version: basis.machine.described(),
        requirements: wanted.packages.iter().map(ToString::to_string).collect(),
        packages,
        files: found.files,
        left_out: found.dropped,
        bytes: captured.layer.manifest.bytes(),
        at: builder.clock.now(),
    };
    Ok((record, captured.pin))
}

fn failure(worked: &Worked, wanted: &Programs, basis: &Basis, found: &Found) -> ImageError {
    let what = wanted.named();
    if let Some(error) = worked.out_of_room(&what, wanted.disk) {
        return error;
    }
    // apt looks before it fetches, and tar tells how far it came.
    if ["enough free space", "Wrote only"].iter().any(|words| worked.said.contains(words)) {
        return ImageError::TooLarge { what, limit: wanted.disk };
    }
    let why = reason(&worked.said).unwrap_or_else(|| format!("it ended ({:?})", worked.outcome));
    let said = last_lines(&worked.said);
    match worked.outcome {
        Outcome::Exited(UNKNOWN) => found.unknown(&basis.sources.left_out),
        Outcome::Exited(REPLACES) => ImageError::Replaces { what, packages: found.replaced() },
        Outcome::Exited(UNRESOLVED) => {
            ImageError::Unresolved { what, why: unmet(&worked.said).unwrap_or(why), said }
        }
        Outcome::Exited(UNUSABLE) => ImageError::Unusable { package: found.last(), why, said },
        Outcome::Exited(UNFETCHED) => {
            let (refused, left_out) = (worked.refused.clone(), basis.sources.left_out.clone());
            ImageError::Unfetched { what, why, said, refused, left_out }
        }
        _ => ImageError::Failed { what, why, said, refused: worked.refused.clone() },
    }
}

/// All that apt is told. `Parts` and `Main` are the machine's own settings, of which it reads none.
fn settings() -> String {
    let proxy = format!("http://127.0.0.1:{EGRESS_PORT}/");
    let lines = [
        ("Dir::Etc", format!("{HOME}/apt")),
        ("Dir::Etc::Parts", "/tmp/apt/empty".to_owned()),
        ("Dir::Etc::Main", "/tmp/apt/none".to_owned()),
        ("Dir::Etc::SourceList", "/tmp/apt/none".to_owned()),
        ("Dir::Etc::Netrc", "/tmp/apt/none".to_owned()),
        ("Dir::Etc::NetrcParts", "/tmp/apt/empty".to_owned()),
        ("Dir::Etc::Trusted", format!("{INSIDE}/trusted.gpg")),
        ("Dir::Etc::TrustedParts", format!("{INSIDE}/trusted.gpg.d")),
        ("Dir::State", "/tmp/apt".to_owned()),
        ("Dir::State::Lists", "/tmp/apt/lists/".to_owned()),
        ("Dir::State::status", STATUS.to_owned()),
        ("Dir::Cache", "/tmp/apt/cache".to_owned()),
        ("Dir::Cache::pkgcache", String::new()),
        ("Dir::Cache::srcpkgcache", String::new()),
        ("Dir::Log", "/tmp/apt/log".to_owned()),
        ("Debug::NoLocking", "true".to_owned()),
        ("APT::Sandbox::User", String::new()),
        ("APT::Install-Recommends", "false".to_owned()),
        ("APT::Install-Suggests", "false".to_owned()),
        ("APT::Get::Assume-Yes", "true".to_owned()),
        ("APT::Get::AllowUnauthenticated", "false".to_owned()),
        ("APT::Cmd::Pattern-Only", "true".to_owned()),
        ("Acquire::AllowInsecureRepositories", "false".to_owned()),
        ("Acquire::AllowDowngradeToInsecureRepositories", "false".to_owned()),
        ("Acquire::Languages", "none".to_owned()),
        ("Acquire::Retries", "2".to_owned()),
        ("Acquire::http::Timeout", "30".to_owned()),
        ("Acquire::http::Proxy", proxy.clone()),
        ("Acquire::https::Proxy", proxy),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        let _ = writeln!(text, "{name} \"{value}\";");
    }
    text
}

/// All that is told, as far as anything may be.
async fn hear(pipe: OwnedFd) -> String {
    let Ok(pipe) = tokio::net::unix::pipe::Receiver::from_owned_fd(pipe) else { return String::new() };
    let mut text = Vec::new();
    let _ = pipe.take(MOST).read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

/// What packages ask for in vain, as apt lists it: `name : Depends: other but it is not installable`.
fn unmet(said: &str) -> Option<String> {
    const RELATIONS: [&str; 4] = [" : Depends: ", " : PreDepends: ", " : Conflicts: ", " : Breaks: "];
    let lines = said.lines().map(str::trim);
    let found: Vec<&str> =
        lines.filter(|line| RELATIONS.iter().any(|relation| line.contains(relation))).take(3).collect();
    (!found.is_empty()).then(|| found.join("; ").chars().take(400).collect())
}

/// The first line in which it says what went wrong.
fn reason(said: &str) -> Option<String> {
    let line = |begin: &str| said.lines().find_map(|line| line.trim().strip_prefix(begin));
    // A source that does not answer is no more than a warning to apt, which goes on with what it knows.
    let begins = ["E: ", "Error: ", "tar: ", "dpkg-deb: error: ", "W: Failed", "W: ", "Warning: "];
    begins
        .into_iter()
        .find_map(line)
        .or_else(|| said.lines().next_back())
        .map(|line| line.chars().take(300).collect())
}
