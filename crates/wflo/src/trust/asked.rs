//! What a `wflo.toml` asks for beyond its own sandbox.
//!
//! Read from the file alone, before the environment is laid over it, and from what is written, not
//! from what it comes to: a setting that cannot be read as it should is refused elsewhere.

mod cloud;
mod place;
mod provider;
mod run;
mod sandbox;
mod secret;

use std::path::Path;

use serde::Serialize;
use wflo_gateway::cache::Address;

use self::place::{is_outside, is_this_machine};
use self::provider::of_provider;
pub(crate) use self::run::{by_hand, host_by_hand, led_to, of_program, of_run, reach_of_run};
use self::sandbox::of_sandbox;
use self::secret::of_secret;
use super::command::{Running, Written, running};
use crate::document::{Node, Table, Value};
use crate::plain;

/// One setting, or one entry of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Asked {
    /// Its dotted name.
    pub(crate) key: String,
    /// Its value.
    pub(crate) value: String,
    /// What it does, for people.
    pub(crate) does: &'static str,
    /// A command, as JSON: a line for a shell, or its words.
    #[serde(skip)]
    command: Option<String>,
    /// Of the project's files that it runs: when one changes, it is another setting.
    #[serde(skip)]
    running: Running,
}

/// How far it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Steps reach further.
    Steps,
    /// Something of the user's is read, sent, or written to.
    Yours,
    /// It runs outside of every sandbox.
    Outside,
}

/// The ends of keys that give away what is the user's.
const YOURS: [&str; 8] = [
    "api_key_env",
    "api_key_file",
    "value_env",
    "value_file",
    "sandbox.env",
    "sandbox.rw",
    "run.env",
    "run.rw",
];

impl Asked {
    pub(super) fn rank(&self) -> Rank {
        if self.command.is_some() || matches!(self.key.as_str(), "sandbox.backend" | "run.backend") {
            Rank::Outside
        } else if YOURS.iter().any(|end| self.key.ends_with(end)) {
            Rank::Yours
        } else {
            Rank::Steps
        }
    }

    pub(super) fn new(key: impl Into<String>, value: impl Into<String>, does: &'static str) -> Asked {
        let (command, running) = (None, Running::default());
        Asked { key: key.into(), value: value.into(), does, command, running }
    }

    /// As it is written in the file.
    pub(crate) fn setting(&self) -> String {
        match &self.command {
            Some(command) => format!("{} = {command}", self.key),
            None => format!("{} = {:?}", self.key, self.value),
        }
    }

    /// What of the project it runs and nobody can look at; nobody can accept that, either.
    pub(crate) fn unreadable(&self) -> Option<&str> {
        self.running.unreadable.as_deref()
    }

    /// The same in so many columns, or in those that an address needs to show its host whole.
    pub(crate) fn brief(&self, columns: usize) -> String {
        let host = self.value.split_once("://").map_or(0, |(scheme, rest)| {
            let host = rest.split('/').next().unwrap_or_default();
            self.key.len() + scheme.len() + host.len() + " = \"://...\"".len()
        });
        plain::short(&self.setting(), columns.max(host))
    }

    /// As it is remembered.
    pub(crate) fn recorded(&self) -> String {
        match self.running.digest() {
            None => self.setting(),
            Some(files) => format!("{} {files}", self.setting()),
        }
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
    if let Some(Value::Table(metrics)) = table.get("metrics").map(|node| &node.value) {
        of_metrics(metrics, &mut found);
    }
    if let Some(Value::Table(traces)) = table.get("traces").map(|node| &node.value)
        && matches!(traces.get("export_content").map(|node| &node.value), Some(Value::Bool(true)))
    {
        let does = "what models are asked and answer leaves with an exported trace";
        found.push(Asked::new("traces.export_content", "true", does));
    }
    for (name, secret) in tables(table, "secrets") {
        of_secret(&format!("secrets.{name}"), secret, root, &mut found);
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

fn of_metrics(metrics: &Table, found: &mut Vec<Asked>) {
    if let Some(listen) = text(metrics, "listen") {
        let does = "other users of this machine may read which workflows run and what they cost";
        found.push(Asked::new("metrics.listen", listen, does));
    }
    if matches!(metrics.get("beyond_loopback").map(|node| &node.value), Some(Value::Bool(true))) {
        let does = "other machines may read which workflows run and what they cost";
        found.push(Asked::new("metrics.beyond_loopback", "true", does));
    }
}

fn of_command(key: String, command: &Node, root: &Path) -> Asked {
    let written = Written::read(command);
    let value = match &written {
        Written::Line(line) => line.clone(),
        Written::Words(words) => words.join(" "),
    };
    let (command, running) = (Some(written.json()), running(&written.words(), root));
    Asked { command, running, ..Asked::new(key, value, "runs outside of every sandbox") }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Backend;

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
            requirements = \"r.txt\"\nindex_url = \"https://pypi.org:s3cret@evil.example/simple\"\nbuild_disk_limit = \"900g\"\nsource_builds = true\n\
            [sandbox.e2b]\napi_url = \"https://evil.example\"\ndomain = \"evil.example\"\nsandbox_url = \"http://127.0.0.1:1\"\n\
            template = \"t\"\napi_key_env = \"E2B_API_KEY\"\n\
            [databases.m]\nurl = \"sqlite://../other.db\"\nallow_unseen = true\n[storage]\nurl = \"sqlite:inside/x.db\"\n\
            [metrics]\nlisten = \"127.0.0.1:9464\"\nbeyond_loopback = true\n[traces]\nexport_content = true\n\
            [cache]\nurl = \"redis://localhost:s3cret-w0rd@evil.example/1\"\n\
            [secrets.s]\nenv = \"S\"\nvalue_env = \"AWS_SECRET\"\nhosts = [\"evil.example\"]\n\
            [secrets.t]\nenv = \"T\"\nvalue_command = \"./key.sh\"\nhosts = [\"evil.example\"]\n\
            headers = [\"referer\"]\nquery = [\"key\"]\n";
        let found = of(text, &root);
        for wanted in [
            "providers.a.api_key_command = [\"./key.sh\",\"x\"]",
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
            "sandbox.requirements = \"r.txt\"",
            "sandbox.index_url = \"https://evil.example/simple\"",
            "sandbox.build_disk_limit = \"900g\"",
            "sandbox.source_builds = \"true\"",
            "sandbox.e2b.api_url = \"https://evil.example\"",
            "sandbox.e2b.domain = \"evil.example\"",
            "sandbox.e2b.template = \"t\"",
            "sandbox.e2b.api_key_env = \"E2B_API_KEY\"",
            "databases.m.url",
            "databases.m.allow_unseen",
            "storage.url",
            "metrics.listen = \"127.0.0.1:9464\"",
            "metrics.beyond_loopback",
            "traces.export_content",
            "cache.url = \"redis://evil.example/1\"",
            "secrets.s.hosts = \"evil.example\"",
            "secrets.s.value_env = \"AWS_SECRET\"",
            "secrets.t.hosts = \"evil.example\"",
            "secrets.t.headers = \"referer\"",
            "secrets.t.query = \"key\"",
            "secrets.t.value_command = \"./key.sh\"",
        ] {
            assert!(found.iter().any(|setting| setting.starts_with(wanted)), "{wanted}: {found:?}");
        }
        assert_eq!(found.len(), 39, "{found:?}");
        assert!(!format!("{found:?}").contains("s3cret"), "{found:?}");
    }

    #[test]
    fn a_cloud_is_asked_for_by_whoever_names_it() {
        let root = Path::new("/project");
        let found = of("[sandbox]\nbackend = \"e2b\"\n[sandbox.e2b]\napi_key_env = \"E2B_API_KEY\"\n", root);
        assert_eq!(found, ["sandbox.backend = \"e2b\""]);
        let other = of("[sandbox.e2b]\napi_key_env = \"AWS_SECRET\"\n", root);
        assert_eq!(other, ["sandbox.e2b.api_key_env = \"AWS_SECRET\""]);
        assert_eq!(
            by_hand(Backend::E2b).map(|asked| asked.setting()),
            Some("run.backend = \"e2b\"".to_owned())
        );
        assert_eq!(by_hand(Backend::Docker), None);
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
