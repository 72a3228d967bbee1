//! What a `wflo.toml` asks for beyond its own sandbox.
//!
//! Read from the file alone, before the environment is laid over it, and from what is written, not
//! from what it comes to: a setting that cannot be read as it should is refused elsewhere.

use std::path::{Path, PathBuf};

use serde::Serialize;
use wflo_engine::launch::Launch;
use wflo_engine::program::Program;
use wflo_gateway::cache::Address;
use wflo_sandbox::workspace::{Hidden, HideRules, RelPath};

use crate::document::{Node, Table, Value};
use crate::plain;
use crate::settings::{Backend, Settings};

use super::command::{Running, Written, running};

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

impl Asked {
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
        match self.running.files.is_empty() {
            true => self.setting(),
            false => format!("{} {}", self.setting(), serde_json::json!(self.running.files)),
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

/// What a recorded run was started with beyond what the settings say now: a `.wflo` may have been brought
/// along too, with runs that nobody of this machine has started.
pub(crate) fn of_run(launch: &Launch, settings: &Settings) -> Vec<Asked> {
    let (sandbox, root) = (&settings.sandbox, &settings.project.root);
    let mut found = Vec::new();
    found.extend(by_hand(launch.backend).filter(|_| sandbox.backend != Some(launch.backend)));
    if let Some(docker) = &launch.docker
        && docker.options != sandbox.docker
    {
        let does = "its steps run in containers that the settings do not ask for";
        found.push(Asked::new("run.docker", docker.options.image.clone().unwrap_or_default(), does));
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

/// Of that, what a file of the project leads to: nobody has named it by hand.
pub(crate) fn led_to(program: &Program) -> Vec<Asked> {
    let (asked, led) = (of_program(program), program.led.iter().map(|place| place.display().to_string()));
    let led: Vec<String> = led.collect();
    asked.into_iter().filter(|asked| led.contains(&asked.value)).collect()
}

/// A run with a backend that reaches further than this machine's own walls, as the command line asks for it.
pub(crate) fn by_hand(backend: Backend) -> Option<Asked> {
    let does = reach(backend.name())?;
    Some(Asked::new("run.backend", backend.name(), does))
}

/// What somebody has to agree to who runs steps with a backend.
fn reach(backend: &str) -> Option<&'static str> {
    match backend {
        "none" => Some("steps are not isolated from this machine"),
        "e2b" => Some("steps, and the project's files with them, go to a cloud that is paid for"),
        _ => None,
    }
}

/// The hosts and addresses among that.
pub(crate) fn reach_of_run(launch: &Launch, settings: &Settings) -> Vec<Asked> {
    let sandbox = &settings.sandbox;
    // One that does not count lets nothing in.
    let remembered = super::hosts::read(&settings.project.root).unwrap_or_default();
    let is_known = |host: &&String| sandbox.allow_hosts.contains(host) || remembered.allow.contains(*host);
    let said = launch.said_hosts.iter().filter(|said| said.allowed).map(|said| &said.rule);
    let said = said.filter(|host| !launch.allow_hosts.contains(host));
    let hosts = launch.allow_hosts.iter().chain(said).filter(|host| !is_known(host));
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
        found.push(of_command(format!("{key}.api_key_command"), command, root));
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

/// A secret of hosts: a project could have any value that can be read sent to a host of its own.
fn of_secret(key: &str, secret: &Table, root: &Path, found: &mut Vec<Asked>) {
    let hosts: Vec<&str> = texts(secret, "hosts").collect();
    for host in &hosts {
        found.push(Asked::new(format!("{key}.hosts"), *host, "gets the secret's value"));
    }
    for (name, does) in [
        ("headers", "the secret's value may stand in this header"),
        ("query", "the secret's value may stand in this parameter"),
    ] {
        let places = texts(secret, name);
        found.extend(places.map(|place| Asked::new(format!("{key}.{name}"), place, does)));
    }
    if let Some(command) = secret.get("value_command") {
        found.push(of_command(format!("{key}.value_command"), command, root));
    }
    for (name, does) in [
        ("value_env", "the variable's value is sent to the secret's hosts"),
        ("value_file", "is read and sent to the secret's hosts"),
    ] {
        if let Some(value) = text(secret, name) {
            found.push(Asked::new(format!("{key}.{name}"), value, does));
        }
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

/// A cloud, which sees what steps see, and gets the key that is named for it.
fn of_cloud(cloud: &Table, root: &Path, found: &mut Vec<Asked>) {
    let key = "sandbox.e2b";
    if let Some(command) = cloud.get("api_key_command") {
        found.push(of_command(format!("{key}.api_key_command"), command, root));
    }
    if let Some(file) = text(cloud, "api_key_file").filter(|file| is_outside(file, root)) {
        found.push(Asked::new(format!("{key}.api_key_file"), file, "is read and sent to the cloud"));
    }
    let elsewhere = |name: &str| text(cloud, name).filter(|url| name == "domain" || !is_this_machine(url));
    let places: Vec<_> = ["domain", "api_url", "sandbox_url"]
        .into_iter()
        .filter_map(|name| Some((name, elsewhere(name)?)))
        .collect();
    for (name, place) in &places {
        found.push(Asked::new(
            format!("{key}.{name}"),
            *place,
            "steps, and the project's files with them, go there",
        ));
    }
    if let Some(name) = text(cloud, "api_key_env").filter(|name| !places.is_empty() || *name != "E2B_API_KEY")
    {
        found.push(Asked::new(
            format!("{key}.api_key_env"),
            name,
            "the variable's value is sent to the cloud",
        ));
    }
    if let Some(template) = text(cloud, "template") {
        found.push(Asked::new(format!("{key}.template"), template, "steps run in it"));
    }
}

fn of_sandbox(sandbox: &Table, root: &Path, found: &mut Vec<Asked>) {
    if let Some((name, does)) = text(sandbox, "backend").and_then(|name| Some((name, reach(name)?))) {
        found.push(Asked::new("sandbox.backend", name, does));
    }
    if let Some(Value::Table(cloud)) = sandbox.get("e2b").map(|node| &node.value) {
        of_cloud(cloud, root, found);
    }
    if let Some(image) = text(sandbox, "image") {
        found.push(Asked::new(
            "sandbox.image",
            image,
            "it is fetched from its registry, and steps run in it",
        ));
    }
    if let Some(runtime) = text(sandbox, "runtime").filter(|name| *name != "runsc") {
        found.push(Asked::new("sandbox.runtime", runtime, "it is what isolates steps from this machine"));
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
    of_packages(sandbox, found);
    if let Some(file) = text(sandbox, "ca_file") {
        found.push(Asked::new("sandbox.ca_file", file, "hosts that it vouches for are believed"));
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

/// Packages are installed in a sandbox; still it is this machine that fetches them.
fn of_packages(sandbox: &Table, found: &mut Vec<Asked>) {
    let does = "packages are fetched for steps, and kept";
    for requirement in text(sandbox, "requirements").into_iter().chain(texts(sandbox, "requirements")) {
        found.push(Asked::new("sandbox.requirements", requirement, does));
    }
    for package in texts(sandbox, "packages") {
        let does = "this machine's distribution is asked for it, and steps have its programs";
        found.push(Asked::new("sandbox.packages", package, does));
    }
    if let Some(url) = text(sandbox, "index_url") {
        found.push(Asked::new("sandbox.index_url", without_user(url), "packages are fetched from there"));
    }
    if let Some(limit) = sandbox.get("build_disk_limit").and_then(|node| match &node.value {
        Value::Number(digits) => Some(digits.as_str()),
        _ => text_of(node),
    }) {
        let does = "so much of this machine's memory may be taken while packages are installed";
        found.push(Asked::new("sandbox.build_disk_limit", limit, does));
    }
    for (key, does) in [
        ("extra_index_urls", "packages are fetched from there, too"),
        ("index_hosts", "files of packages are fetched from there"),
    ] {
        for place in texts(sandbox, key) {
            found.push(Asked::new(format!("sandbox.{key}"), without_user(place), does));
        }
    }
    if matches!(sandbox.get("source_builds").map(|node| &node.value), Some(Value::Bool(true))) {
        let does = "packages run their own code while they are built, in a sandbox";
        found.push(Asked::new("sandbox.source_builds", "true", does));
    }
}

/// An address whose host stands first: what is before it may be secret, or look like a host.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
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
