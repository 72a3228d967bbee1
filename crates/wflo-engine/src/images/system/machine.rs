//! What of this machine decides which packages are fetched: read from its files, nothing is asked.
//!
//! What is installed on it is seen in its sandboxes, so only what is missing is fetched; with other packages on
//! the machine other ones are missing.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::super::error::ImageError;

/// The package manager's own record of what is installed.
pub(in super::super) const STATUS: &str = "/var/lib/dpkg/status";
/// What fetches and unpacks.
const PROGRAMS: [&str; 3] = ["apt-get", "apt-cache", "dpkg-deb"];

/// A machine, as far as packages are concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in super::super) struct Machine {
    /// `debian 12`.
    pub(in super::super) system: String,
    /// `amd64`.
    pub(in super::super) architecture: String,
    /// Of the names and versions of all that is installed.
    pub(in super::super) installed: String,
    /// What is installed, by its name.
    #[serde(skip)]
    pub(in super::super) versions: BTreeMap<String, String>,
}

impl Machine {
    /// Reads it; blocks.
    ///
    /// # Errors
    /// When it has none of the programs that fetch packages.
    pub(in super::super) fn read() -> Result<Machine, ImageError> {
        let is_there = |name: &&str| Path::new("/usr/bin").join(name).is_file();
        if let Some(missing) = PROGRAMS.iter().find(|name| !is_there(name)) {
            return Err(ImageError::NoSystem { why: format!("there is no {missing} on it") });
        }
        let status = std::fs::read(STATUS)
            .map_err(|e| ImageError::NoSystem { why: format!("{STATUS} cannot be read: {e}") })?;
        let status = String::from_utf8_lossy(&status);
        let packages = installed(&status);
        let first = packages.iter().find(|package| package.name == "dpkg");
        let none = || ImageError::NoSystem { why: format!("{STATUS} names no dpkg") };
        let architecture = first.ok_or_else(none)?.architecture.to_owned();
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let mut lines: Vec<String> = packages.iter().map(Package::line).collect();
        lines.sort();
        Ok(Machine {
            system: named(&release),
            architecture,
            installed: blake3::hash(lines.join("\n").as_bytes()).to_hex().to_string(),
            versions: packages
                .iter()
                .map(|known| (known.name.to_owned(), known.version.to_owned()))
                .collect(),
        })
    }

    /// `debian 12 amd64`.
    pub(in super::super) fn described(&self) -> String {
        format!("{} {}", self.system, self.architecture)
    }
}

struct Package<'a> {
    name: &'a str,
    version: &'a str,
    architecture: &'a str,
}

impl Package<'_> {
    fn line(&self) -> String {
        format!("{}:{}={}", self.name, self.architecture, self.version)
    }
}

/// Those of which all is there.
fn installed(status: &str) -> Vec<Package<'_>> {
    fn package(paragraph: &str) -> Option<Package<'_>> {
        let (mut name, mut version, mut architecture, mut is_there) = ("", "", "", false);
        for line in paragraph.lines() {
            match line.split_once(": ") {
                Some(("Package", value)) => name = value,
                Some(("Version", value)) => version = value,
                Some(("Architecture", value)) => architecture = value,
                Some(("Status", value)) => is_there = value.ends_with(" installed"),
                _ => {}
            }
        }
        let whole = is_there && !name.is_empty() && !version.is_empty();
        whole.then_some(Package { name, version, architecture })
    }
    status.split("\n\n").filter_map(package).collect()
}

/// `debian 12`, of the file that says so.
fn named(release: &str) -> String {
    let value = |wanted: &str| {
        let fields = release.lines().filter_map(|line| line.split_once('='));
        let found =
            fields.filter(|(name, _)| *name == wanted).map(|(_, value)| value.trim_matches('"')).next();
        found.map(|value| value.chars().filter(|c| c.is_ascii_graphic()).take(40).collect::<String>())
    };
    let known = [value("ID"), value("VERSION_ID")].into_iter().flatten().collect::<Vec<_>>().join(" ");
    if known.is_empty() { "linux".to_owned() } else { known }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_what_the_package_manager_has_whole() {
        let status = "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nDescription: x\n  Version: 9\n\n\
                      Package: b\nStatus: deinstall ok config-files\nVersion: 2\nArchitecture: all\n\n\
                      Package: c\nStatus: hold ok installed\nArchitecture: amd64\nVersion: 1:3\n";
        let found: Vec<String> = installed(status).iter().map(Package::line).collect();
        assert_eq!(found, ["a:all=1", "c:amd64=1:3"]);
    }

    #[test]
    fn a_system_is_called_what_it_calls_itself() {
        assert_eq!(
            named("NAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nID_LIKE=debian\n"),
            "ubuntu 24.04"
        );
        assert_eq!(named("ID=debian\n"), "debian");
        assert_eq!(named(""), "linux");
    }
}
