//! Known vulnerabilities of an image, as an installed scanner finds them.
//!
//! A scanner is a program of the operator's: `trivy`, else `grype`, on their own `PATH`. It is asked for
//! JSON, its answer is read as untrusted text with a bound, and only counts and a few names are kept.

use super::error::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a scan may take: the first one fetches a database.
const PATIENCE: Duration = Duration::from_secs(900);
/// The most that is read of an answer.
const MOST: u64 = 64 << 20;
/// Severities that a required scan refuses, the worst first.
const GRAVE: [&str; 2] = ["critical", "high"];
/// So many names are kept of the gravest.
const NAMED: usize = 20;

/// What a scanner found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanned {
    /// `trivy` or `grype`.
    pub scanner: String,
    /// How many, by severity in small letters.
    pub counts: BTreeMap<String, u64>,
    /// Names of the gravest, such as `CVE-2026-1234`, sorted.
    pub named: Vec<String>,
}

impl Scanned {
    /// Refuses what has grave ones.
    ///
    /// # Errors
    /// [`Error::Vulnerable`].
    pub(crate) fn judge(&self, image: &str) -> Result<(), Error> {
        let worst = GRAVE.iter().find_map(|severity| Some((*severity, *self.counts.get(*severity)?)));
        match worst.filter(|(_, count)| *count > 0) {
            None => Ok(()),
            Some((severity, count)) => {
                let first = self.named.first().cloned().unwrap_or_default();
                Err(Error::Vulnerable { image: image.to_owned(), count, severity, first })
            }
        }
    }
}

/// The scanner on a search path.
pub(crate) fn scanner(path: &OsStr) -> Option<(&'static str, PathBuf)> {
    use std::os::unix::fs::PermissionsExt as _;
    let runs = |file: &Path| {
        file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    ["trivy", "grype"].into_iter().find_map(|name| {
        let places = std::env::split_paths(path).filter(|folder| folder.is_absolute());
        places.map(|folder| folder.join(name)).find(|file| runs(file)).map(|file| (name, file))
    })
}

/// Scans the image `id`, named `image`; blocks. `environment` is the operator's own.
pub(crate) fn scan(
    (name, program): (&'static str, &Path),
    image: &str,
    id: &str,
    environment: &BTreeMap<std::ffi::OsString, std::ffi::OsString>,
) -> Result<Scanned, Error> {
    let failed = |reason: String| Error::Scan { scanner: name, image: image.to_owned(), reason };
    let arguments: Vec<String> = match name {
        "trivy" => {
            ["image", "--quiet", "--scanners", "vuln", "--format", "json", id].map(str::to_owned).to_vec()
        }
        _ => vec![format!("docker:{id}"), "-q".to_owned(), "-o".to_owned(), "json".to_owned()],
    };
    let mut command = Command::new(program);
    command.args(&arguments).env_clear().envs(environment).stdin(Stdio::null());
    let child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| failed(e.to_string()))?;
    let (answer, words, succeeded) = output(child).map_err(|error| failed(error.to_string()))?;
    if !succeeded {
        let last = String::from_utf8_lossy(&words).lines().last().unwrap_or("it failed").to_owned();
        return Err(failed(last.chars().take(300).collect()));
    }
    let answer: Value =
        serde_json::from_slice(&answer).map_err(|e| failed(format!("its answer is no JSON: {e}")))?;
    let found = if name == "trivy" { of_trivy(&answer) } else { of_grype(&answer) };
    let found = found.ok_or_else(|| failed("its answer is not in the form that is known".to_owned()))?;
    Ok(summary(name, found))
}

/// Reads both streams to their ends, in bounded time.
fn output(mut child: Child) -> std::io::Result<(Vec<u8>, Vec<u8>, bool)> {
    let read = |stream: Option<Box<dyn std::io::Read + Send>>, most: u64| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(stream) = stream {
                let _ = stream.take(most).read_to_end(&mut bytes);
            }
            bytes
        })
    };
    let answer = read(child.stdout.take().map(|s| Box::new(s) as _), MOST);
    let words = read(child.stderr.take().map(|s| Box::new(s) as _), 64 << 10);
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            return Err(std::io::Error::from(std::io::ErrorKind::TimedOut));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let joined = |thread: std::thread::JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
    Ok((joined(answer), joined(words), status.success()))
}

/// Severity and name of each: `Results[].Vulnerabilities[]`, where both lists may be missing.
fn of_trivy(answer: &Value) -> Option<Vec<(String, String)>> {
    answer.get("SchemaVersion")?;
    let empty = Vec::new();
    let results = answer.get("Results").and_then(Value::as_array).unwrap_or(&empty);
    let all = results.iter().filter_map(|result| result.get("Vulnerabilities")?.as_array()).flatten();
    Some(all.map(|one| (text(one, "Severity"), text(one, "VulnerabilityID"))).collect())
}

/// The same of `matches[].vulnerability`.
fn of_grype(answer: &Value) -> Option<Vec<(String, String)>> {
    let all = answer.get("matches")?.as_array()?.iter().filter_map(|found| found.get("vulnerability"));
    Some(all.map(|one| (text(one, "severity"), text(one, "id"))).collect())
}

fn text(of: &Value, name: &str) -> String {
    of.get(name).and_then(Value::as_str).unwrap_or("unknown").chars().take(64).collect()
}

fn summary(scanner: &str, found: Vec<(String, String)>) -> Scanned {
    let mut counts = BTreeMap::new();
    let mut ranked: Vec<(usize, String)> = Vec::new();
    for (severity, name) in found {
        let severity = severity.to_lowercase();
        if let Some(rank) = GRAVE.iter().position(|grave| *grave == severity) {
            ranked.push((rank, name));
        }
        *counts.entry(severity).or_default() += 1;
    }
    ranked.sort();
    ranked.dedup();
    let named = ranked.into_iter().map(|(_, name)| name).take(NAMED).collect();
    Scanned { scanner: scanner.to_owned(), counts, named }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_trivy_says_is_counted_and_judged() {
        let answer = json!({"SchemaVersion": 2, "ArtifactName": "x", "Results": [
            {"Target": "x (debian 12)", "Class": "os-pkgs", "Type": "debian", "Vulnerabilities": [
                {"VulnerabilityID": "CVE-2", "PkgName": "a", "Severity": "HIGH"},
                {"VulnerabilityID": "CVE-1", "PkgName": "b", "Severity": "CRITICAL"},
                {"VulnerabilityID": "CVE-3", "PkgName": "c", "Severity": "LOW"}]},
            {"Target": "clean", "Class": "lang-pkgs"}]});
        let scanned = summary("trivy", of_trivy(&answer).unwrap());
        assert_eq!(
            scanned.counts,
            [("critical", 1), ("high", 1), ("low", 1)].map(|(s, n)| (s.to_owned(), n)).into()
        );
        assert_eq!(scanned.named, ["CVE-1", "CVE-2"]);
        let refused = scanned.judge("x").unwrap_err();
        assert!(matches!(refused, Error::Vulnerable { severity: "critical", count: 1, .. }), "{refused}");
        let clean = summary("trivy", of_trivy(&json!({"SchemaVersion": 2})).unwrap());
        assert!(clean.judge("x").is_ok());
        assert_eq!(of_trivy(&json!({"matches": []})), None);
    }

    #[test]
    fn what_grype_says_is_counted_too() {
        let answer = json!({"matches": [{"vulnerability": {"id": "GHSA-1", "severity": "Medium"}}]});
        let scanned = summary("grype", of_grype(&answer).unwrap());
        assert_eq!(scanned.counts.get("medium"), Some(&1));
        assert!(scanned.judge("x").is_ok());
    }
}
