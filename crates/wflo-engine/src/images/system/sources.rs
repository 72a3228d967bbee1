//! Where a machine has its packages from: the sources of apt, read as text and handed to a build in its home.
//!
//! A build sees the sources that fetch packages without a password, over the network. What else apt's folder has
//! stays outside: credentials (`auth.conf`, a password in an address), and its settings, which may name programs
//! to run. Whom a source is signed by is shown to the build as the file that it is.

use std::path::{Path, PathBuf};

use serde::Serialize;
use wflo_egress::rules::Rule;
use wflo_sandbox::Bind;

use super::super::error::ImageError;

/// apt's folder on this machine.
pub(in super::super) const APT: &str = "/etc/apt";
/// The same, as far as a build sees it.
pub(in super::super) const INSIDE: &str = "/opt/wflo/apt";
/// A file of sources is not larger.
const LIMIT: u64 = 1 << 20;
/// Why a source is left out that this machine would take as it comes.
const UNSIGNED: &str = "it may be unsigned, and only what is signed is taken";
/// What of apt's folder is shown as it is: public keys.
const KEYS: [&str; 3] = ["trusted.gpg", "trusted.gpg.d", "keyrings"];

/// The sources of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(in super::super) struct Sources {
    /// Files for the build, below its own folder of apt: name and text.
    pub(in super::super) files: Vec<(String, String)>,
    /// What it may reach for them, as rules.
    #[serde(skip)]
    pub(in super::super) rules: Vec<String>,
    /// Keys that lie elsewhere, and where the build sees them.
    #[serde(skip)]
    pub(super) keys: Vec<(PathBuf, PathBuf)>,
    /// Sources that it does not have, and why.
    #[serde(skip)]
    pub(in super::super) left_out: Vec<String>,
}

impl Sources {
    /// Reads those below `apt`; blocks.
    ///
    /// # Errors
    /// When there is none that a build could use.
    pub(in super::super) fn read(apt: &Path) -> Result<Sources, ImageError> {
        let mut sources = Sources::default();
        let mut files = vec![apt.join("sources.list")];
        files.extend(parts(&apt.join("sources.list.d")));
        for file in files {
            let Some(text) = content(&file) else { continue };
            let number = sources.files.len();
            let (kind, text) = match file.extension().and_then(|kind| kind.to_str()) {
                Some("list") => ("list", sources.lines(apt, &text)),
                Some("sources") => ("sources", sources.stanzas(apt, &text)),
                _ => continue,
            };
            if !text.is_empty() {
                sources.files.push((format!("sources.list.d/{number}.{kind}"), text));
            }
        }
        let settings = std::iter::once(apt.join("apt.conf")).chain(parts(&apt.join("apt.conf.d")));
        if settings.filter_map(|file| content(&file)).any(|text| names_proxy(&text)) {
            sources
                .left_out
                .push("the proxy of apt's settings (a build goes to the sources itself)".to_owned());
        }
        if sources.files.is_empty() {
            return Err(ImageError::NoSources { left_out: sources.left_out });
        }
        for (number, file) in
            std::iter::once(apt.join("preferences")).chain(parts(&apt.join("preferences.d"))).enumerate()
        {
            let known = matches!(file.extension().and_then(|kind| kind.to_str()), None | Some("pref"));
            if let Some(text) = content(&file).filter(|_| known) {
                sources.files.push((format!("preferences.d/{number}"), text));
            }
        }
        sources.rules.sort();
        sources.rules.dedup();
        Ok(sources)
    }

    /// The keys that sources are signed by.
    pub(in super::super) fn binds(&self, apt: &Path) -> Vec<Bind> {
        let usual = KEYS.iter().map(|name| (apt.join(name), Path::new(INSIDE).join(name)));
        let all = usual.chain(self.keys.iter().cloned());
        all.filter(|(source, _)| source.exists()).map(|(source, target)| Bind::new(source, target)).collect()
    }

    /// A file with a source a line.
    fn lines(&mut self, apt: &Path, text: &str) -> String {
        let mut kept = String::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let Some(rest) = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '[']))
            else {
                continue;
            };
            let rest = rest.trim_start();
            let (options, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                Some((options, rest)) => (options, rest.trim_start()),
                None => ("", rest),
            };
            let (address, suites) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
            if options.split_whitespace().filter_map(|option| option.split_once('=')).any(is_unsigned) {
                self.leave_out(address, UNSIGNED);
                continue;
            }
            let Some(address) = self.address(address) else { continue };
            let options: Vec<String> =
                options.split_whitespace().map(|option| self.option(apt, option)).collect();
            kept.push_str("deb ");
            if !options.is_empty() {
                kept.push_str(&format!("[{}] ", options.join(" ")));
            }
            kept.push_str(&format!("{address} {}\n", suites.trim()));
        }
        kept
    }

    fn option(&mut self, apt: &Path, option: &str) -> String {
        match option.split_once('=') {
            Some((name, keys)) if name.eq_ignore_ascii_case("signed-by") => {
                let keys: Vec<String> = keys.split(',').map(|key| self.key(apt, key)).collect();
                format!("{name}={}", keys.join(","))
            }
            _ => option.to_owned(),
        }
    }

    /// A file with a paragraph for each source.
    fn stanzas(&mut self, apt: &Path, text: &str) -> String {
        let mut kept = String::new();
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in text.lines().chain(std::iter::once("")) {
            if line.starts_with('#') {
                continue;
            }
            if line.trim().is_empty() {
                kept.push_str(&self.stanza(apt, &std::mem::take(&mut fields)));
            } else if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut() {
                    value.push('\n');
                    value.push_str(line);
                }
            } else if let Some((name, value)) = line.split_once(':') {
                fields.push((name.trim().to_owned(), value.trim().to_owned()));
            }
        }
        kept
    }

    fn stanza(&mut self, apt: &Path, fields: &[(String, String)]) -> String {
        let value = |wanted: &str| {
            let found = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.as_str())
        };
        let is_off = value("Enabled")
            .is_some_and(|is| ["no", "false", "0", "off", "without", "disable"].contains(&is));
        let has_programs =
            value("Types").is_some_and(|types| types.split_whitespace().any(|kind| kind == "deb"));
        if is_off || !has_programs {
            return String::new();
        }
        if fields.iter().any(|(name, value)| is_unsigned((name, value))) {
            for address in value("URIs").unwrap_or_default().split_whitespace() {
                self.leave_out(address, UNSIGNED);
            }
            return String::new();
        }
        let mut text = String::new();
        for (name, value) in fields {
            let value = match name.to_ascii_lowercase().as_str() {
                "types" => "deb".to_owned(),
                "uris" => {
                    let found = value.split_whitespace().filter_map(|address| self.address(address));
                    let found: Vec<String> = found.collect();
                    if found.is_empty() {
                        return String::new();
                    }
                    found.join(" ")
                }
                "signed-by" if !value.contains("-----BEGIN") => {
                    value.split_whitespace().map(|key| self.key(apt, key)).collect::<Vec<_>>().join(" ")
                }
                _ => value.clone(),
            };
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push('\n');
        text
    }

    /// The address of a source, if a build may use it.
    fn address(&mut self, address: &str) -> Option<String> {
        let Some(list) = address.strip_prefix("mirror+file:") else { return self.fetched(address) };
        // The best of a list of mirrors: which one that is, is not left to whoever answers.
        let text = Path::new(list).starts_with("/etc").then(|| content(Path::new(list))).flatten();
        match text.as_deref().and_then(best_mirror) {
            Some(best) => self.fetched(&best),
            None => self.leave_out(address, "its list of mirrors names none"),
        }
    }

    fn fetched(&mut self, address: &str) -> Option<String> {
        let Some((scheme, rest)) = address.split_once("://") else {
            return self.leave_out(address, "it is not fetched over the network");
        };
        if !matches!(scheme, "http" | "https") {
            return self.leave_out(address, "it is not fetched by http or https");
        }
        let authority = rest.split('/').next().unwrap_or_default();
        if authority.contains('@') {
            return self.leave_out(address, "it needs a password, which enters no sandbox");
        }
        let rule = format!("{scheme}://{authority}");
        if authority.contains('*') || rule.parse::<Rule>().is_err() {
            return self.leave_out(address, "its host cannot be read");
        }
        // Nothing but fetching is let through where that can be seen.
        self.rules.push(if scheme == "http" { format!("GET,HEAD {rule}") } else { rule });
        Some(address.to_owned())
    }

    fn leave_out(&mut self, address: &str, why: &str) -> Option<String> {
        let plain: String = address.chars().filter(char::is_ascii_graphic).take(200).collect();
        // A path may hold a token.
        let shown = super::super::build::without_path(&plain);
        self.left_out.push(format!("{shown} ({why})"));
        None
    }

    /// Where a build sees a key. What is no file is a fingerprint.
    fn key(&mut self, apt: &Path, key: &str) -> String {
        let path = Path::new(key);
        if !path.is_absolute() || path.starts_with("/usr") {
            return key.to_owned();
        }
        let inside = match path.strip_prefix(apt) {
            Ok(within) if KEYS.iter().any(|known| within.starts_with(known)) => {
                Path::new(INSIDE).join(within)
            }
            _ => {
                let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or("gpg");
                let inside = Path::new(INSIDE).join(format!("signed-by/{}.{kind}", self.keys.len()));
                self.keys.push((path.to_owned(), inside.clone()));
                inside
            }
        };
        inside.to_string_lossy().into_owned()
    }
}

/// The address with the lowest number behind it.
fn best_mirror(text: &str) -> Option<String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mirrors = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next()?;
        let priority = words.find_map(|word| word.strip_prefix("priority:")?.parse().ok());
        Some((priority.unwrap_or(u32::MAX), address.to_owned()))
    });
    mirrors.min_by_key(|(priority, _)| *priority).map(|(_, address)| address)
}

/// Whether settings of apt name a proxy. Its address may hold a password: it is not read.
fn names_proxy(text: &str) -> bool {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '/']));
    let mut lines = lines.map(str::to_ascii_lowercase);
    lines.any(|line| line.contains("proxy") && line.contains('"') && !line.contains("\"direct\""))
}

/// Whether this option of a source says that it may be taken unsigned: whatever is no plain no.
fn is_unsigned((name, value): (&str, &str)) -> bool {
    let name = name.trim_end_matches(['+', '-']).to_ascii_lowercase();
    let is_one =
        matches!(&*name, "trusted" | "allow-insecure" | "allow-weak" | "allow-downgrade-to-insecure");
    is_one && !matches!(&*value.trim().to_ascii_lowercase(), "no" | "false" | "0")
}

/// The files of a folder, as apt reads them: by name.
fn parts(folder: &Path) -> Vec<PathBuf> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let is_part = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().copied().all(plain))
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(is_part).collect();
    found.sort();
    found
}

/// A small file's text; nothing where there is none that may be read.
fn content(path: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut text = Vec::new();
    std::fs::File::open(path).ok()?.take(LIMIT).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Sources, ImageError>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let sources = Sources::read(folder.path());
        (folder, sources)
    }

    fn texts(sources: &Sources) -> Vec<&str> {
        sources.files.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn sources_of_both_forms_are_kept_as_far_as_they_fetch_programs() {
        let (folder, sources) = read(&[
            (
                "sources.list",
                "# main\ndeb http://a.example/debian stable main # rest\ndeb-src http://a.example/debian stable main\n",
            ),
            ("sources.list.d/x.list", "deb [arch=amd64  signed-by=KEYRINGS] https://b.example:8443/x ./\n"),
            (
                "sources.list.d/y.sources",
                "Types: deb deb-src\nURIs: http://c.example/y\n ftp://d.example/y\nSuites: s\nComponents: main\nSigned-By: /usr/share/k.gpg\n\n\
                 Types: deb\nEnabled: no\nURIs: http://off.example\nSuites: s\n\nTypes: deb-src\nURIs: http://src.example\nSuites: s\n",
            ),
            ("sources.list.d/z.sources.disabled", "Types: deb\nURIs: http://z.example\nSuites: s\n"),
            ("preferences.d/p", "Package: *\nPin: release a=x\nPin-Priority: 1\n"),
        ]);
        let sources = sources.unwrap();
        assert_eq!(
            texts(&sources),
            [
                "deb http://a.example/debian stable main\n",
                "deb [arch=amd64 signed-by=KEYRINGS] https://b.example:8443/x ./\n",
                "Types: deb\nURIs: http://c.example/y\nSuites: s\nComponents: main\nSigned-By: /usr/share/k.gpg\n\n",
                "Package: *\nPin: release a=x\nPin-Priority: 1\n",
            ]
        );
        assert_eq!(
            sources.rules,
            ["GET,HEAD http://a.example", "GET,HEAD http://c.example", "https://b.example:8443"]
        );
        assert_eq!(sources.left_out, ["ftp://d.example/… (it is not fetched by http or https)"]);
        drop(folder);
    }

    #[test]
    fn a_password_of_a_source_goes_nowhere_and_is_said_nowhere() {
        let (_folder, sources) = read(&[
            ("auth.conf", "machine a.example login me password hunter2\n"),
            ("auth.conf.d/x.conf", "machine a.example login me password hunter2\n"),
            ("apt.conf.d/hook", "APT::Update::Pre-Invoke { \"hunter2\"; };\n"),
            ("sources.list", "deb https://me:hunter2@a.example/x s main\ndeb http://b.example/y s main\n"),
        ]);
        let sources = sources.unwrap();
        assert!(!format!("{sources:?}").contains("hunter2"), "{sources:?}");
        assert_eq!(sources.left_out.len(), 1);
        let (_folder, none) = read(&[("sources.list", "deb https://me:hunter2@a.example/x s main\n")]);
        let said = none.unwrap_err();
        assert!(
            matches!(&said, ImageError::NoSources { left_out } if !left_out[0].contains("hunter2")),
            "{said}"
        );
    }

    #[test]
    fn a_source_that_may_be_unsigned_is_left_out() {
        for option in [
            "trusted=yes",
            "Trusted=1",
            "allow-insecure=yes",
            "allow-weak=true",
            "trusted+=yes",
            "trusted=\"yes\"",
        ] {
            let (_folder, sources) = read(&[(
                "sources.list",
                &format!("deb [arch=amd64 {option}] http://a.example/t/x s main\n"),
            )]);
            let ImageError::NoSources { left_out } = sources.unwrap_err() else { panic!("{option}") };
            assert!(left_out[0].starts_with("http://a.example/… (it may be unsigned"), "{left_out:?}");
        }
        let stanza = "Types: deb\nURIs: http://a.example/x http://b.example/y\nSuites: s\nTrusted: yes\n";
        let (_folder, sources) = read(&[("sources.list.d/x.sources", stanza)]);
        assert!(matches!(sources.unwrap_err(), ImageError::NoSources { left_out } if left_out.len() == 2));
        let (_folder, sources) = read(&[("sources.list", "deb [trusted=no] http://a.example/x s main\n")]);
        assert_eq!(sources.unwrap().rules, ["GET,HEAD http://a.example"]);
    }

    #[test]
    fn keys_are_seen_where_a_build_may_look() {
        let (folder, _) = read(&[("keyrings/k.gpg", "k")]);
        let apt = folder.path();
        let line = format!(
            "deb [signed-by={},/elsewhere/k.asc,/usr/share/k.gpg] http://a.example/x s main\n",
            apt.join("keyrings/k.gpg").display()
        );
        std::fs::write(apt.join("sources.list"), line).unwrap();
        let sources = Sources::read(apt).unwrap();
        let said = "deb [signed-by=/opt/wflo/apt/keyrings/k.gpg,/opt/wflo/apt/signed-by/0.asc,/usr/share/k.gpg] \
                    http://a.example/x s main\n";
        assert_eq!(texts(&sources), [said]);
        let binds = sources.binds(apt);
        assert_eq!(
            binds,
            [Bind::new(apt.join("keyrings"), "/opt/wflo/apt/keyrings")],
            "what is not there is not shown"
        );
    }

    #[test]
    fn of_a_list_of_mirrors_the_best_is_taken() {
        let text =
            "http://archive.example/ubuntu\tpriority:2\nhttp://near.example/ubuntu\tpriority:1\n# no\n";
        assert_eq!(best_mirror(text).as_deref(), Some("http://near.example/ubuntu"));
        assert_eq!(best_mirror("http://only.example/x\n").as_deref(), Some("http://only.example/x"));
        assert_eq!(best_mirror("\n"), None);
        // A list that names itself, or another one, leads nowhere.
        let (_folder, sources) = read(&[("sources.list", "deb mirror+file:/etc/hostname s main\n")]);
        assert!(matches!(sources.unwrap_err(), ImageError::NoSources { left_out } if left_out.len() == 1));
    }

    #[test]
    fn a_proxy_that_is_not_used_is_said_and_its_password_is_not() {
        assert!(!names_proxy(
            "// Acquire::http::Proxy \"http://p:1\";\nAcquire::http::Proxy::a.example \"DIRECT\";\n"
        ));
        let settings = "Acquire::http { Proxy \"http://me:hunter2@proxy.example:3128\"; };\n";
        let (_folder, sources) =
            read(&[("sources.list", "deb http://a.example/x s main\n"), ("apt.conf.d/80proxy", settings)]);
        let sources = sources.unwrap();
        assert!(
            sources.left_out[0].contains("proxy") && !format!("{sources:?}").contains("hunter2"),
            "{sources:?}"
        );
    }
}
