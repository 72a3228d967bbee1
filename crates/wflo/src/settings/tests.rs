//! What settings promise.

use wflo_core::error::Coded;

use super::*;

mod cache;
mod routing;

/// The whole file of the design.
const WHOLE: &str = r#"
[project]
name = "my-agent"
workflow = "workflow.py"

[providers.local]
dialect = "openai"
base_url = "http://127.0.0.1:8080/v1"
api_key_env = "OPENAI_API_KEY"

[models."smollm2-135m"]
provider = "local"
input = "0.10"
output = "0.40"
context_tokens = 4096
max_output_tokens = 2048

[budget]
max_cost_usd = "10.00"
alert_thresholds = [0.5, 0.75, 0.9, 1.0]
action_on_exceeded = "ask"

[sandbox]
backend = "native"
memory_limit = "512m"
cpu_limit = "0.5"
pids_limit = 128
disk_limit = "256m"
inodes_limit = 5000
io = { read = "50m", write_ops = 100 }
network = { sent = "10m", requests = 500 }
network_enabled = false
allow_hosts = []
timeout_seconds = 300
env = ["LANG"]
ro = ["./models:/models"]
rw = []
hide = ["notes"]

[databases.main]
url = "sqlite:data/support.db"

[storage]
url = "sqlite:.wflo/wflo.db"
journal_limit = "64m"
"#;

struct Here {
    folder: tempfile::TempDir,
}

impl Here {
    fn with(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), text).unwrap();
        Here { folder }
    }

    fn root(&self) -> PathBuf {
        std::fs::canonicalize(self.folder.path()).unwrap()
    }

    fn load(&self, environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let location = Location { current: self.root(), ..Location::default() };
        Settings::load(&location, &Environment::of(environment))
    }
}

/// Code, place, message and hint of the refusal.
fn refusal(text: &str, environment: &[(&str, &str)]) -> (u16, String, String, String) {
    let error = Here::with(text).load(environment).unwrap_err();
    let failure = error.to_failure();
    (error.code().0, failure.place.unwrap_or_default(), failure.message, failure.hint.unwrap_or_default())
}

fn provider<'a>(settings: &'a Settings, name: &str) -> &'a Provider {
    &settings.providers.iter().find(|(known, _)| known == name).unwrap().1
}

#[test]
fn providers_keep_the_order_of_the_file() {
    let table = |name: &str| format!("[providers.{name}]\ndialect = \"openai\"\n");
    let text = ["zeta", "openai", "alpha"].map(table).concat();
    let names: Vec<String> =
        Here::with(&text).load(&[]).unwrap().providers.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["zeta", "openai", "alpha"]);
}

#[test]
fn the_designs_file_is_read_whole() {
    let here = Here::with(WHOLE);
    let settings = here.load(&[]).unwrap();
    assert_eq!(settings.project.workflow.as_deref(), Some("workflow.py"));
    assert_eq!(provider(&settings, "local").key, Some(KeySource::Variable("OPENAI_API_KEY".into())));
    assert_eq!(settings.models["smollm2-135m"].priced().input.as_deref(), Some("0.10"));
    assert_eq!(settings.budgets[0].max_cost_usd.unwrap().to_string(), "10.00");
    assert_eq!(settings.budgets[0].action_on_exceeded, Some(wflo_core::budget::OnExceeded::Ask));
    assert_eq!(settings.sandbox.memory_limit.unwrap().0, 512 << 20);
    let io = settings.sandbox.io;
    assert_eq!((io.read, io.write, io.write_ops), (Some(Bytes(50 << 20)), None, Some(100)));
    assert_eq!(settings.sandbox.inodes_limit, Some(5_000));
    let network = settings.sandbox.network;
    assert_eq!((network.sent, network.requests), (Some(Bytes(10 << 20)), Some(500)));
    assert_eq!((network.received, network.connections, network.requests_per_minute), (None, None, None));
    assert_eq!(settings.sandbox.ro[0].target, "/models");
    assert_eq!(settings.databases["main"].path, here.root().join("data/support.db"));
    assert_eq!(settings.storage, here.root().join(".wflo/wflo.db"));
    assert_eq!(settings.journal_limit, Bytes(64 << 20));
}

#[test]
fn the_environment_lies_over_the_file() {
    let here = Here::with(WHOLE);
    let settings = here
        .load(&[
            ("WFLO_PROVIDERS__LOCAL__BASE_URL", "http://127.0.0.1:9/v1/"),
            ("WFLO_MODELS__SMOLLM2_135M__INPUT", "0.25"),
            ("WFLO_BUDGET__MAX_COST_USD", "3"),
            ("WFLO_BUDGET__ALERT_THRESHOLDS", "0.2, 0.4"),
            ("WFLO_SANDBOX__PIDS_LIMIT", "7"),
            ("WFLO_SANDBOX__HIDE", "a,b"),
            ("WFLO_DATA_DIR", "ignored here: it is a flag's"),
        ])
        .unwrap();
    assert_eq!(provider(&settings, "local").base_url.as_deref(), Some("http://127.0.0.1:9/v1"));
    assert_eq!(settings.models["smollm2-135m"].priced().input.as_deref(), Some("0.25"));
    let budget = &settings.budgets[0];
    assert_eq!(
        (budget.max_cost_usd.unwrap().to_string().as_str(), budget.alert_thresholds.clone()),
        ("3.00", Some(vec![0.2, 0.4]))
    );
    assert_eq!(settings.sandbox.pids_limit, Some(7));
    assert_eq!(settings.sandbox.hide, ["a", "b"]);
}

#[test]
fn a_wrong_variable_is_named() {
    let (code, place, _, hint) = refusal("", &[("WFLO_BUDGET__MAX_COST", "3")]);
    assert_eq!((code, place.as_str()), (8003, "environment variable WFLO_BUDGET__MAX_COST"));
    assert_eq!(hint, "did you mean `max_cost_usd`?");
    let (code, place, ..) = refusal(WHOLE, &[("WFLO_SANDBOX__MEMORY", "3")]);
    assert_eq!((code, place.as_str()), (8003, "environment variable WFLO_SANDBOX__MEMORY"));
}

#[test]
fn an_unknown_key_is_an_error_with_its_line_and_the_nearest_key() {
    for (text, place, message, hint) in [
        (
            "[sandbox]\n\nmemory_limt = \"1g\"\n",
            "wflo.toml:3",
            "`memory_limt` in `sandbox`",
            "`memory_limit`",
        ),
        ("[sandbox.network]\nrequest = 5", "wflo.toml:2", "`request` in `sandbox.network`", "`requests`"),
        ("[bugdet]\n", "wflo.toml:1", "`bugdet` at the top level", "`budget`"),
        ("[project]\ncolour = 1\n", "wflo.toml:2", "`colour` in `project`", "name, workflow"),
        ("[providers.local]\ndialect = 'openai'\nurl = 'x'\n", "wflo.toml:3", "`url`", "base_url"),
    ] {
        let (code, at, said, hinted) = refusal(text, &[]);
        assert_eq!((code, at.as_str()), (8003, place), "{said}");
        assert!(said.contains(message) && hinted.contains(hint), "{said} / {hinted}");
    }
}

#[test]
fn wrong_values_are_refused_where_they_stand() {
    for (text, says) in [
        ("[budget]\nmax_cost_usd = \"ten\"", "not an amount in USD"),
        ("[budget]\nmax_cost_usd = -1", "not negative"),
        ("[budget]\nmax_cost_usd = 1\nalert_thresholds = [0.9, 0.5]", "rising shares"),
        ("[budget]\nmax_cost_usd = true", "text or a number, not true/false"),
        ("[sandbox]\nmemory_limit = \"lots\"", "is not a size"),
        ("[sandbox]\npids_limit = 0", "at least 1"),
        ("[sandbox]\ninodes_limit = 99", "from 100 to 4194304"),
        ("[sandbox]\nio = { read = 0 }", "at least 1 byte a second"),
        ("[sandbox]\nio = { write_ops = 0 }", "at least 1"),
        ("[sandbox.network]\nsent = 0", "at least 1 and at most 1t"),
        ("[sandbox.network]\nreceived = \"17t\"", "at least 1 and at most 16t"),
        ("[sandbox.network]\nrequests = 0", "at least 1 and at most 1000000000"),
        ("[sandbox.network]\nconnections = 1001", "at least 1 and at most 1000"),
        ("[sandbox.network]\nrequests_per_minute = 60001", "at most 60000"),
        ("[sandbox]\nio = \"50m\"", "a table"),
        ("[metrics]\nlisten = \"127.0.0.1:9-8\"", "a range of ports ascends"),
        ("[sandbox]\ntimeout_seconds = 0", "longer than nothing"),
        ("[sandbox]\nbackend = \"vm\"", "not a sandbox backend"),
        ("[sandbox]\nro = [\"a:b\"]", "is not a mount"),
        ("[providers.x]\ndialect = \"openia\"", "one of openai, anthropic"),
        ("[providers.x]\ndialect = \"openai\"\nbase_url = \"localhost:80\"", "an address such as"),
        ("[providers.x]\ndialect = \"openai\"\nbase_url = \"http://u:p@h/\"", "without a user or password"),
        ("[budget]\nmax_cost_usd = 1\naction_on_exceeded = \"stop\"", "downgrade"),
        ("[budget]\nalert_thresholds = [0.5]", "needs max_cost_usd"),
        ("[[budgets]]\nmax_cost_usd = 1", "`budgets[0].scope` is missing"),
        ("[[budgets]]\nscope = \"org\"\nmax_tokens = 1\ntime_zone = \"UTC\"", "has none"),
        ("[[budgets]]\nscope = \"org\"\nmax_tokens = 1\nperiod = \"day\"\ntime_zone = \"Moon\"", "IANA"),
        ("[[budgets]]\nscope = \"label\"\nmax_tokens = 1", "says which"),
        ("[[budgets]]\nscope = \"run\"\nmax_tokens = 1\nperiod = \"day\"", "period"),
        ("[providers.x]\nbase_url = \"http://h\"", "`providers.x.dialect` is missing"),
        (
            "[providers.x]\ndialect = \"openai\"\n[providers.x.passthrough.\"/a/../b\"]\nmax_cost_usd = 1",
            "a path such as",
        ),
        (
            "[providers.x]\ndialect = \"openai\"\n[providers.x.passthrough.\"/files\"]",
            "max_cost_usd` is missing",
        ),
        ("[models.m]\ninput = \"0.1234567\"\noutput = \"1\"", "at most 6 decimals"),
        (
            "[models.m]\ninput = 1\noutput = 1\nprovider = \"locl\"\n[providers.local]\ndialect = \"openai\"",
            "not there",
        ),
        ("[databases.main]\nurl = \"data.db\"", "a SQLite address"),
        ("[sandbox]\nallow_hosts = [\"a.example\", \"*.org\"]", "`*.org` is not a host"),
        ("[sandbox]\nallow_addresses = [\"10.0.0.0/40\"]", "neither an address nor a network"),
        ("[sandbox]\nunknown_hosts = \"allow\"", "unknown_hosts"),
        ("[approvals]\nbudget_timeout_seconds = 0", "longer than nothing"),
        ("[sandbox]\nask_timeout_seconds = 0", "longer than nothing"),
        ("[sandbox]\ninspect_hosts = [\"https://a.example/x\"]", "hosts, each with or without a port"),
        ("[secrets.a]\nvalue_env = \"A\"\nhosts = [\"a.example\"]", "`secrets.a.env` is missing"),
        ("[secrets.a]\nenv = \"A\"\nhosts = [\"a.example\"]", "has no value"),
        ("[secrets.a]\nenv = \"A=B\"\nvalue_env = \"A\"\nhosts = [\"a.example\"]", "the name of a variable"),
        ("[secrets.a]\nenv = \"A\"\nvalue_env = \"A\"\nhosts = []", "at least one host"),
        (
            "[secrets.a]\nenv = \"A\"\nvalue_env = \"A\"\nhosts = [\"*.example.org\"]",
            "hosts, each with or without",
        ),
        (
            "[secrets.a]\nenv = \"A\"\nvalue_env = \"A\"\nvalue_file = \"b\"\nhosts = [\"a.example\"]",
            "second place",
        ),
        (
            "[sandbox]\nenv = [\"TOKEN\"]\n[secrets.a]\nenv = \"A\"\nvalue_env = \"TOKEN\"\nhosts = [\"a.example\"]",
            "would pass the key TOKEN on",
        ),
    ] {
        let (code, place, said, _) = refusal(text, &[]);
        assert_eq!(code, 8004, "{text}: {said}");
        assert!(place.starts_with("wflo.toml:"), "{place}");
        assert!(said.contains(says), "{text}: {said}");
    }
}

#[test]
fn commands_that_are_asked_about_are_read_and_one_that_names_none_is_refused() {
    let here = Here::with("[approvals]\ncommands = [\"git push *\", \"terraform apply*\"]\n");
    assert_eq!(here.load(&[]).unwrap().approvals.commands, ["git push *", "terraform apply*"]);
    assert!(Here::with("[approvals]\ncommands = [\"\"]\n").load(&[]).is_err());
    for wrong in ["git  push", " git", "git push ", "a\\tb"] {
        let error = Here::with(&format!("[approvals]\ncommands = [\"{wrong}\"]\n")).load(&[]).unwrap_err();
        assert!(error.to_string().contains("names no command"), "{wrong}: {error}");
    }
    assert!(Here::with("[approvals]\ncommand = [\"git\"]\n").load(&[]).is_err(), "nothing is ignored");
}

#[test]
fn secrets_of_hosts_and_what_is_asked_about_are_read() {
    let text = "[sandbox]\nunknown_hosts = \"ask\"\nask_timeout_seconds = \"5s\"\nca_file = \"company.pem\"\n\
        inspect_hosts = [\"b.example\"]\n[secrets.github]\nenv = \"GITHUB_TOKEN\"\nvalue_file = \"../token\"\n\
        hosts = [\"api.github.com\", \"a.example:8443\"]\nheaders = [\"X-Api-Key\"]\nquery = [\"key\"]\n";
    let here = Here::with(text);
    let settings = here.load(&[]).unwrap();
    assert!(settings.sandbox.ask_hosts && settings.sandbox.patience.0 == 5_000);
    assert_eq!(settings.sandbox.ca_file, Some(here.root().join("company.pem")));
    let secret = &settings.secrets["github"];
    assert_eq!((secret.env.as_str(), secret.hosts.len()), ("GITHUB_TOKEN", 2));
    assert_eq!(
        (secret.headers.as_slice(), secret.query.as_slice()),
        (&["x-api-key".into()][..], &["key".into()][..])
    );
    assert_eq!(secret.source, KeySource::File(here.root().join("../token")));
}

#[test]
fn packages_of_a_distribution_are_names_and_versions() {
    let here = Here::with("[sandbox]\npackages = [\"jq\", \"poppler-utils=22*\"]\n");
    assert_eq!(here.load(&[]).unwrap().sandbox.packages.system, ["jq", "poppler-utils=22*"]);
    for package in ["-y", "jq-", "jq/stable", "./jq.deb", "jq=", "?name(jq)"] {
        let (code, place, said, _) = refusal(&format!("[sandbox]\npackages = [\"tree\", {package:?}]"), &[]);
        assert_eq!((code, place.as_str()), (8004, "wflo.toml:2"), "{said}");
        assert!(said.contains(package), "{said}");
    }
}

#[test]
fn what_belongs_to_a_later_release_is_refused_by_name() {
    for (text, says) in [
        ("[sandbox]\nnetwork_enabled = true", "network_enabled"),
        ("[databases.main]\nurl = \"postgres://u:secret@h/d\"", "Postgres"),
        ("[storage]\nurl = \"postgresql://h/d\"", "Postgres"),
    ] {
        let (code, place, said, hint) = refusal(text, &[]);
        assert_eq!(code, 8006, "{text}: {said}");
        assert!(place.starts_with("wflo.toml:") && said.contains(says), "{said}");
        assert!(!said.contains("secret") && !hint.contains("secret"));
    }
}

#[test]
fn two_places_for_one_key_are_refused() {
    let text = "[providers.x]\ndialect = 'openai'\napi_key_env = 'A'\napi_key_command = 'b'";
    let (code, place, said, _) = refusal(text, &[]);
    assert_eq!((code, place.as_str()), (8004, "wflo.toml:4"), "{said}");
}

#[test]
fn a_file_that_is_not_toml_says_where() {
    let (code, place, ..) = refusal("[project]\nname = \n", &[]);
    assert_eq!((code, place.as_str()), (8005, "wflo.toml:2"));
}

#[test]
fn the_project_is_the_nearest_settings_file_upwards() {
    let here = Here::with("[project]\nname = \"outer\"");
    let inner = here.root().join("a/b");
    std::fs::create_dir_all(&inner).unwrap();
    let load = |location: &Location| Settings::load(location, &Environment::default()).unwrap();
    let from_inner = Location { current: inner.clone(), ..Location::default() };
    assert_eq!(load(&from_inner).project.root, here.root());
    assert_eq!(load(&from_inner).data_dir, here.root().join(".wflo"));
    std::fs::write(inner.join(FILE_NAME), "").unwrap();
    assert_eq!(load(&from_inner).project.root, inner);
}

#[test]
fn without_a_settings_file_the_workflows_folder_is_the_project() {
    let folder = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(folder.path()).unwrap();
    std::fs::create_dir(root.join("flows")).unwrap();
    std::fs::write(root.join("flows/w.py"), "").unwrap();
    let location = Location {
        current: root.clone(),
        workflow: Some("flows/w.py".into()),
        data_dir: Some("elsewhere".into()),
        ..Location::default()
    };
    let settings = Settings::load(&location, &Environment::default()).unwrap();
    assert_eq!(settings.project.root, root.join("flows"));
    assert_eq!(settings.data_dir, root.join("elsewhere"));
    assert_eq!(settings.storage, root.join("elsewhere/wflo.db"));
    assert_eq!(settings.journal_limit, Bytes(1 << 30));
}

#[test]
fn no_key_of_a_provider_is_passed_on() {
    for name in ["OPENAI_API_KEY", "MY_KEY"] {
        let text = format!(
            "[providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\napi_key_env = \"MY_KEY\"\n[sandbox]\nenv = [\"LANG\", \"{name}\"]\n"
        );
        let (code, _, message, hint) = refusal(&text, &[]);
        assert!(code == 8004 && message.contains(name), "{code} {message}");
        assert!(hint.contains("wflo"), "{hint}");
    }
}

#[test]
fn what_is_asked_of_models_is_kept_and_not_exported_unless_people_say_otherwise() {
    let traces = |text: &str| Here::with(text).load(&[]).unwrap().traces;
    assert_eq!(traces(""), Traces { content: true, export_content: false });
    let said = traces("[traces]\ncontent = false\nexport_content = true\n");
    assert_eq!(said, Traces { content: false, export_content: true });
    assert!(Here::with("[traces]\ncontents = false\n").load(&[]).is_err());
}
