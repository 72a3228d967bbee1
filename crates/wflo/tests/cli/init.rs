//! `wflo init` makes a project that runs as it is, and overwrites nothing.

use std::io::{Read, Write};
use std::net::TcpListener;

use insta::assert_snapshot;

use super::wflo::Folder;

/// A model server that answers each request with this list of models, until it is dropped.
struct ModelServer {
    port: u16,
}

impl ModelServer {
    fn listing(body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut request = [0_u8; 1024];
                let count = stream.read(&mut request).unwrap_or(0);
                assert!(request[..count].starts_with(b"GET /v1/models HTTP/1.0\r\n"));
                let head = format!("HTTP/1.0 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
            }
        });
        ModelServer { port }
    }
}

#[test]
fn without_a_model_the_project_has_no_model_step_and_says_how_to_add_one() {
    let folder = Folder::new();
    assert_snapshot!(folder.shown(&["init", "my-agent"]));
    assert_snapshot!("plain_workflow", folder.read("my-agent/workflow.py"));
    assert_snapshot!("plain_settings", folder.read("my-agent/wflo.toml"));
    assert!(folder.read("my-agent/README.md").contains("## Add a model step"));
    assert!(folder.read("my-agent/.gitignore").contains(".wflo/"));
}

#[test]
fn a_project_is_not_made_in_a_folder_of_its_name_unless_that_is_said() {
    let folder = Folder::new();
    let name = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
    let nested = folder.run(&["init", &name, "--no-model"]);
    assert_eq!(nested.code, 2, "{}", nested.stderr);
    assert!(
        nested.stderr.contains("[WFLO-8009]") && nested.stderr.contains("`wflo init .`"),
        "{}",
        nested.stderr
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was written");
    assert_eq!(folder.run(&["init", ".", "--no-model"]).code, 0);
    let said = folder.run(&["init", &format!("./{name}"), "--no-model"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stderr.contains("it lies within the project"), "{}", said.stderr);
}

#[test]
fn a_model_server_of_this_machine_is_used_and_priced() {
    let server = ModelServer::listing(
        r#"{"data": [{"id": "nomic-embed-text"}, {"id": "smollm2 \"135m\"", "meta": {"n_ctx": 8192}}]}"#,
    );
    let folder = Folder::new().setting("WFLO_MODEL_PORTS", &server.port.to_string());
    let ended = folder.run(&["init", "my-agent"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let port = server.port.to_string();
    assert_snapshot!("local_said", ended.stdout.replace(&port, "[PORT]"));
    assert_snapshot!("local_workflow", folder.read("my-agent/workflow.py"));
    assert_snapshot!("local_settings", folder.read("my-agent/wflo.toml").replace(&port, "[PORT]"));
}

#[test]
fn a_key_of_the_environment_names_the_provider_and_is_written_nowhere() {
    let folder = Folder::new().setting("ANTHROPIC_API_KEY", "sk-secret");
    let ended = folder.run(&["init", "my-agent", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let made: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(made["model"]["dialect"], "anthropic");
    for file in ["wflo.toml", "workflow.py", "README.md"] {
        assert!(!folder.read(&format!("my-agent/{file}")).contains("sk-secret"));
    }
    assert!(folder.read("my-agent/wflo.toml").contains("api_key_env = \"ANTHROPIC_API_KEY\""));
}

#[test]
fn what_a_folder_has_already_is_left_as_it_is() {
    let folder = Folder::with(&[("README.md", "mine"), (".gitignore", "mine")]);
    let ended = folder.run(&["init", ".", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let made: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(made["files"], serde_json::json!(["workflow.py", "wflo.toml", "WFLO.md", "data/tickets.db"]));
    assert_eq!((folder.read("README.md"), folder.read(".gitignore")), ("mine".into(), "mine".into()));
    assert!(folder.read("WFLO.md").contains("## Add a model step"));
    let again = folder.run(&["init", "."]);
    assert_ne!(again.code, 0, "{}", again.stderr);
    assert!(again.stderr.contains("workflow.py, wflo.toml, WFLO.md"), "{}", again.stderr);
}

#[test]
fn the_settings_of_a_new_project_are_valid() {
    let server = ModelServer::listing(r#"{"data": [{"id": "a'b\"c"}]}"#);
    let folder = Folder::new().setting("WFLO_MODEL_PORTS", &server.port.to_string());
    folder.run(&["init", "my-agent"]);
    let ended = folder.run(&["doctor", "--project", "my-agent", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let check = |name: &str| {
        report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap()["outcome"]
            .clone()
    };
    assert_eq!(check("settings"), "ok", "{report}");
    assert_eq!(check("provider local"), "ok", "{report}");
}

#[test]
fn nothing_is_overwritten() {
    let folder = Folder::with(&[("my-agent/workflow.py", "mine"), ("my-agent/notes.txt", "mine too")]);
    assert_snapshot!(folder.shown(&["init", "my-agent"]));
    assert_eq!(folder.read("my-agent/workflow.py"), "mine");
    assert!(!folder.exists("my-agent/wflo.toml"));
}

#[test]
fn a_folder_with_other_files_is_no_obstacle() {
    let folder = Folder::with(&[("notes.txt", "mine")]);
    assert_eq!(folder.run(&["init", ".", "--no-model"]).code, 0);
    assert!(folder.exists("data/tickets.db"));
}

#[test]
fn a_name_that_cannot_be_is_refused() {
    assert_snapshot!(Folder::new().shown(&["init", "x", "--name", "9 lives"]));
}

#[test]
fn a_settings_file_that_cannot_be_read_is_named_with_its_line_and_what_needs_it_not_is_looked_at() {
    let folder = Folder::with(&[("wflo.toml", "[project]\nname = \"demo\"\nworkflow = flow.py\n")]);
    let ended = folder.run(&["doctor", "--json"]);
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let check = |name: &str| {
        let found = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("{name} in {report}"))
    };
    let settings = check("settings");
    assert!(settings["detail"].as_str().unwrap().starts_with("wflo.toml:3: this is not TOML"), "{settings}");
    assert!(settings["fix"].as_str().unwrap().starts_with("correct wflo.toml:3; "), "{settings}");
    assert_eq!((&check("data")["outcome"], &check("models")["outcome"]), (&"ok".into(), &"note".into()));
    assert!(check("python")["detail"].is_string());
}
