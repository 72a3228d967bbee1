//! What a `wflo.toml` asks for beyond its own sandbox.
//!
//! Read from the file alone, before the environment is laid over it, and from what is written, not
//! from what it comes to: a setting that cannot be read as it should is refused elsewhere.

use std::path::{Path, PathBuf};

use serde::Serialize;
use wflo_engine::launch::Launch;
use wflo_engine::program::Program;
use wflo_gateway::cache::Address;
use wflo_sandbox::workspace::{Digest, Hidden, HideRules, RelPath};

use crate::document::{Node, Table, Value};
use crate::settings::{Backend, Settings};

/// One setting, or one entry of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Asked {
    /// Its dotted name.
    pub(crate) key: String,
    /// Its value.
    pub(crate) value: String,
    /// What it does, for people.
    pub(crate) does: &'static str,
    /// Of the project's files that it runs: when one changes, it is another setting.
    #[serde(skip)]
    files: Vec<String>,
}

impl Asked {
    fn new(key: impl Into<String>, value: impl Into<String>, does: &'static str) -> Asked {
        Asked { key: key.into(), value: value.into(), does, files: Vec::new() }
    }

    /// As it is written in the file.
    pub(crate) fn setting(&self) -> String {
        format!("{} = {:?}", self.key, self.value)
    }

    /// As it is remembered.
    pub(crate) fn recorded(&self) -> String {
        let files = self.files.iter().map(|file| format!(" [{file}]")).collect::<String>();
        self.setting() + &files
    }
}

/// What the file of the project at `root` asks for, in its order.
pub(crate) fn asked(file: &Node, root: &Path) -> Vec<Asked> {
    let mut found = Vec::new();
    let Value::Table(table) = &file.value else { return found };
    for (name, provider) in tables(table, "providers") {
        of_provider(&format!("providers.{name}"), provider, root, &mut found);
    }
    if let Some(Value::Table(cache)) = table.get("cache").map(|node| &node.value)
        && let Some(url) = text(cache, "url")
    {
        of_cache(url, &mut found);
    }
    if let Some(Value::Table(sandbox)) = table.get("sandbox").map(|node| &node.value) {
        of_sandbox(sandbox, root, &mut found);
    }
    for (name, database) in tables(table, "databases") {
        if matches!(database.get("allow_unseen").map(|node| &node.value), Some(Value::Bool(true))) {
            let why = "approvals of writes that cannot be shown whole";
            found.push(Asked::new(format!("databases.{name}.allow_unseen"), "true", why));
        }
    }
    let databases =
        tables(table, "databases").map(|(name, database)| (format!("databases.{name}.url"), database));
    let storage = table.get("storage").and_then(|node| match &node.value {
        Value::Table(storage) => Some(("storage.url".to_owned(), storage)),
        _ => None,
    });
    for (key, database) in databases.chain(storage) {
        if let Some(url) = text(database, "url") {
            let path = url.strip_prefix("sqlite:").unwrap_or(url);
            if is_outside(path.strip_prefix("//").unwrap_or(path), root) {
                found.push(Asked::new(key, url, "a database outside of the project"));
            }
        }
    }
    found
}

/// What a recorded run was started with beyond what the settings say now: a `.wflo` may have been brought
/// along too, with runs that nobody of this machine has started.
pub(crate) fn of_run(launch: &Launch, settings: &Settings) -> Vec<Asked> {
    let (sandbox, root) = (&settings.sandbox, &settings.project.root);
    let mut found = Vec::new();
    if launch.backend == Backend::None && sandbox.backend != Some(Backend::None) {
        found.push(by_hand());
    }
    found.extend(reach_of_run(launch, settings));
    for name in launch.env.iter().filter(|name| !sandbox.env.contains(name)) {
        found.push(Asked::new("run.env", name, "its steps see the variable's value"));
    }
    for (key, mounts, said, does) in [
        ("run.ro", &launch.ro, &sandbox.ro, "its steps read it"),
        ("run.rw", &launch.rw, &sandbox.rw, "its steps write there, not on a copy"),
    ] {
        let said: Vec<_> = said.iter().map(|mount| mount.places(root)).collect();
        for (source, target) in mounts.iter().filter(|mount| !said.contains(mount)) {
            found.push(Asked::new(key, format!("{}:{}", source.display(), target.display()), does));
        }
    }
    found.extend(launch.program.iter().flat_map(of_program));
    found
}

/// What a program's sandbox shows of the host because whoever started it named the program.
pub(crate) fn of_program(program: &Program) -> Vec<Asked> {
    let shown = program.shown.iter();
    shown.map(|place| Asked::new("run.program", place.display().to_string(), "its program sees it")).collect()
}

/// A run without isolation, as the command line asks for it.
pub(crate) fn by_hand() -> Asked {
    Asked::new("run.backend", "none", "its steps are not isolated from this machine")
}

/// The hosts and addresses among that.
pub(crate) fn reach_of_run(launch: &Launch, settings: &Settings) -> Vec<Asked> {
    let sandbox = &settings.sandbox;
    let hosts = launch.allow_hosts.iter().filter(|host| !sandbox.allow_hosts.contains(host));
    let addresses =
        launch.allow_addresses.iter().filter(|address| !sandbox.allow_addresses.contains(address));
    let does = "its steps reach it, though it is no public one";
    hosts
        .map(|host| host_by_hand(host))
        .chain(addresses.map(|address| Asked::new("run.allow_addresses", address, does)))
        .collect()
}

/// A host that a run may reach, as the command line allows it.
pub(crate) fn host_by_hand(host: &str) -> Asked {
    Asked::new("run.allow_hosts", host, "its steps reach it")
}

fn of_provider(key: &str, provider: &Table, root: &Path, found: &mut Vec<Asked>) {
    if let Some(command) = provider.get("api_key_command") {
        let words = match &command.value {
            Value::List(items) => items.iter().filter_map(text_of).map(str::to_owned).collect(),
            _ => text_of(command).map(str::to_owned).into_iter().collect::<Vec<_>>(),
        };
        let mut asked =
            Asked::new(format!("{key}.api_key_command"), words.join(" "), "runs outside of every sandbox");
        let named = words.iter().flat_map(|word| word.split_whitespace());
        asked.files = named.filter_map(|word| digest_of(word, root)).collect();
        found.push(asked);
    }
    if let Some(file) = text(provider, "api_key_file").filter(|file| is_outside(file, root)) {
        found.push(Asked::new(format!("{key}.api_key_file"), file, "is read and sent to the provider"));
    }
    if let Some(url) = text(provider, "base_url").filter(|url| !is_this_machine(url)) {
        let does = "model calls of steps go there";
        found.push(Asked::new(format!("{key}.base_url"), url, does));
        if let Some(name) = text(provider, "api_key_env") {
            let does = "the variable's value is sent to that address";
            found.push(Asked::new(format!("{key}.api_key_env"), name, does));
        }
    }
}

/// A Redis elsewhere; what is shown of its address holds no password. One that cannot be read is refused.
fn of_cache(url: &str, found: &mut Vec<Asked>) {
    let Ok(address) = Address::parse(url).map(|address| address.to_string()) else { return };
    if !address.starts_with("redis+unix:") && !is_this_machine(&address) {
        found.push(Asked::new(
            "cache.url",
            address,
            "answers of models are kept there, and taken from there",
        ));
    }
}

fn of_sandbox(sandbox: &Table, root: &Path, found: &mut Vec<Asked>) {
    if let Some(name) = text(sandbox, "backend").filter(|name| *name == "none") {
        let does = "steps are not isolated from this machine";
        found.push(Asked::new("sandbox.backend", name, does));
    }
    for host in texts(sandbox, "allow_hosts") {
        found.push(Asked::new("sandbox.allow_hosts", host, "steps reach it"));
    }
    for address in texts(sandbox, "allow_addresses") {
        found.push(Asked::new(
            "sandbox.allow_addresses",
            address,
            "steps reach it, though it is no public one",
        ));
    }
    for name in texts(sandbox, "env") {
        found.push(Asked::new("sandbox.env", name, "steps see the variable's value"));
    }
    for mount in texts(sandbox, "ro") {
        let source = mount.split(':').next().unwrap_or_default();
        if !is_plain_folder(source, root) {
            found.push(Asked::new("sandbox.ro", mount, "steps read it"));
        }
    }
    for mount in texts(sandbox, "rw") {
        found.push(Asked::new("sandbox.rw", mount, "steps write there, not on a copy"));
    }
}

/// The tables below a table, by the user's names.
fn tables<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = (&'a str, &'a Table)> {
    let entries = match table.get(key).map(|node| &node.value) {
        Some(Value::Table(named)) => named.entries.as_slice(),
        _ => &[],
    };
    entries.iter().filter_map(|entry| match &entry.node.value {
        Value::Table(table) => Some((entry.key.as_str(), table)),
        _ => None,
    })
}

fn text_of(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) | Value::Untyped(text) => Some(text),
        _ => None,
    }
}

fn text<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    table.get(key).and_then(text_of)
}

fn texts<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = &'a str> {
    let items = match table.get(key).map(|node| &node.value) {
        Some(Value::List(items)) => items.as_slice(),
        _ => &[],
    };
    items.iter().filter_map(text_of)
}

/// Whether a path leads out of the project, through a link too.
fn is_outside(path: &str, root: &Path) -> bool {
    !resolved(&root.join(path)).is_some_and(|real| real.starts_with(root))
}

/// Whether it is a folder of the project in which what is hidden stays hidden, and no hidden one.
fn is_plain_folder(path: &str, root: &Path) -> bool {
    let Some(real) = resolved(&root.join(path)).filter(|real| real.is_dir()) else { return false };
    let Ok(inside) = real.strip_prefix(root) else { return false };
    let inside = RelPath::from_bytes(inside.as_os_str().as_encoded_bytes());
    match (inside, Hidden::new(root, &HideRules::default())) {
        (Ok(inside), Ok(hidden)) => hidden.by_path(&inside).is_none(),
        _ => false,
    }
}

/// Where a path leads, links followed as far as it exists; `None` for one that goes up from there.
fn resolved(path: &Path) -> Option<PathBuf> {
    if let Ok(real) = path.canonicalize() {
        return Some(real);
    }
    // A link to nowhere yet may lead anywhere later.
    if path.is_symlink() {
        return None;
    }
    let (above, name) = (path.parent()?, path.file_name()?);
    Some(resolved(above)?.join(name))
}

/// The digest of a word that names a file of the project.
fn digest_of(word: &str, root: &Path) -> Option<String> {
    let path = root.join(word);
    let about = path.metadata().ok().filter(|about| about.is_file() && about.len() <= 1 << 20)?;
    let real = path.canonicalize().ok().filter(|real| real.starts_with(root))?;
    let content = (about.len() > 0).then(|| std::fs::read(real)).transpose().ok()?.unwrap_or_default();
    Some(Digest::of(&content).to_string())
}

/// Whether an address is on this machine's own loopback.
fn is_this_machine(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let loopback = host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    loopback || host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, root: &Path) -> Vec<String> {
        let node = crate::document::toml::parse("wflo.toml", text).unwrap();
        asked(&node, root).iter().map(Asked::setting).collect()
    }

    #[test]
    fn a_project_that_stays_in_its_sandbox_asks_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("models")).unwrap();
        let text = "[project]\nname = \"x\"\n[providers.local]\ndialect = \"openai\"\n\
            base_url = \"http://127.0.0.1:8080/v1\"\napi_key_env = \"K\"\n\
            [providers.o]\ndialect = \"openai\"\napi_key_env = \"OPENAI_API_KEY\"\n\
            [providers.six]\nbase_url = \"http://[::1]:9/v1\"\n[providers.l]\nbase_url = \"http://localhost/v1\"\n\
            [sandbox]\nbackend = \"native\"\nmemory_limit = \"1g\"\nro = [\"./models:/models\"]\nhide = [\"x\"]\n\
            [databases.main]\nurl = \"sqlite:data/a.db\"\n[storage]\nurl = \"sqlite:.wflo/wflo.db\"\n\
            [cache]\nurl = \"redis://user:pass@localhost:6379\"\n";
        assert_eq!(of(text, &root), Vec::<String>::new());
    }

    #[test]
    fn whatever_reaches_further_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::os::unix::fs::symlink("/etc", root.join("inside")).unwrap();
        std::fs::create_dir(root.join(".aws")).unwrap();
        std::fs::write(root.join("wflo.toml"), "").unwrap();
        std::os::unix::fs::symlink("/nowhere/yet", root.join("later")).unwrap();
        let text = "[providers.a]\napi_key_command = [\"./key.sh\", \"x\"]\nbase_url = \"http://127.0.0.1.evil.example/v1\"\n\
            [providers.b]\nbase_url = \"https://evil.example/v1\"\napi_key_env = \"AWS_SECRET\"\n\
            [providers.c]\napi_key_file = \"../../token\"\n[providers.d]\nbase_url = \"http://localhost.evil.example\"\n\
            [providers.e]\nbase_url = \"http://evil.example\\\\@127.0.0.1/\"\n\
            [sandbox]\nbackend = \"none\"\nenv = [\"HOME\", \"AWS\"]\nro = [\"inside:/e\", \"later:/l\", \"/home:/h\", \"wflo.toml:/w\", \".aws:/a\"]\nrw = [\"./x:/x\"]\nallow_hosts = [\"evil.example\"]\nallow_addresses = [\"10.0.0.0/8\"]\n\
            [databases.m]\nurl = \"sqlite://../other.db\"\nallow_unseen = true\n[storage]\nurl = \"sqlite:inside/x.db\"\n\
            [cache]\nurl = \"redis://localhost:s3cret-w0rd@evil.example/1\"\n";
        let found = of(text, &root);
        for wanted in [
            "providers.a.api_key_command = \"./key.sh x\"",
            "providers.a.base_url",
            "providers.b.base_url = \"https://evil.example/v1\"",
            "providers.b.api_key_env = \"AWS_SECRET\"",
            "providers.c.api_key_file",
            "providers.d.base_url",
            "providers.e.base_url",
            "sandbox.backend = \"none\"",
            "sandbox.env = \"HOME\"",
            "sandbox.env = \"AWS\"",
            "sandbox.ro = \"inside:/e\"",
            "sandbox.ro = \"later:/l\"",
            "sandbox.ro = \"/home:/h\"",
            "sandbox.ro = \"wflo.toml:/w\"",
            "sandbox.ro = \".aws:/a\"",
            "sandbox.rw = \"./x:/x\"",
            "sandbox.allow_hosts = \"evil.example\"",
            "sandbox.allow_addresses = \"10.0.0.0/8\"",
            "databases.m.url",
            "databases.m.allow_unseen",
            "storage.url",
            "cache.url = \"redis://evil.example/1\"",
        ] {
            assert!(found.iter().any(|setting| setting.starts_with(wanted)), "{wanted}: {found:?}");
        }
        assert_eq!(found.len(), 22, "{found:?}");
        assert!(!format!("{found:?}").contains("s3cret"), "{found:?}");
    }

    #[test]
    fn a_command_is_another_one_when_its_script_changes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let text = "[providers.a]\napi_key_command = \"sh ./key.sh\"\n";
        let node = crate::document::toml::parse("wflo.toml", text).unwrap();
        std::fs::write(root.join("key.sh"), "echo 1").unwrap();
        let before = asked(&node, &root)[0].recorded();
        assert_eq!(asked(&node, &root)[0].recorded(), before);
        std::fs::write(root.join("key.sh"), "echo 2").unwrap();
        assert_ne!(asked(&node, &root)[0].recorded(), before);
    }
}
