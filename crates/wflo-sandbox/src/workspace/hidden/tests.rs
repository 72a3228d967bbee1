//! What is hidden by names and places.

use super::*;

fn hidden(rules: &HideRules) -> (tempfile::TempDir, Hidden) {
    let folder = tempfile::tempdir().unwrap();
    let hidden = Hidden::new(folder.path(), rules).unwrap();
    (folder, hidden)
}

fn why(hidden: &Hidden, path: &str) -> Option<Reason> {
    hidden.by_path(&path.parse().unwrap())
}

#[test]
fn names_of_keys_and_environments_are_hidden_wherever_they_are() {
    let (_folder, hidden) = hidden(&HideRules::default());
    for path in [".env", ".env.local", "a/.ENV.production", "k/id_rsa", "id_ed25519.bak", "tls/server.KEY"] {
        assert!(why(&hidden, path).is_some(), "{path}");
    }
    for path in [".ssh/known_hosts", ".envs/prod/db", ".git-credentials", "x/.netrc", "a.pem", ".npmrc"] {
        assert!(why(&hidden, path).is_some(), "{path}");
    }
    for path in [
        ".wflo/wflo.db",
        "sub/.WFLO/blobs/x",
        "prod.env",
        ".docker/config.json",
        "a/.config/gcloud/adc.json",
        ".cargo/credentials.toml",
        ".gem/credentials",
        ".boto",
        ".s3cfg",
        ".vault_pass",
        "conf/credentials",
        "service-account.json",
        "terraform.tfvars",
        "x.auto.tfvars",
        ".git/config.bak",
        ".git/MERGE_MSG",
        ".dev.vars",
        ".dev.vars.production",
        "local.settings.json",
        ".kaggle/kaggle.json",
        "serviceAccountKey.json",
        "shop-firebase-adminsdk-x1-abc.json",
        "rclone.conf",
        ".vscode/sftp.json",
        ".ftpconfig",
        ".gemini/oauth_creds.json",
        ".clasprc.json",
        ".sentryclirc",
        "token.pickle",
        "office.ovpn",
        "pgpass.conf",
        ".git-credentials.bak",
        ".psql_history",
        ".bash_history",
        ".python_history",
        "client_secret_1.apps.json",
    ] {
        assert!(why(&hidden, path).is_some(), "{path}");
    }
    for path in [".gitmodules", "config", "app.db", "credentials/x.py", ".cargo/config.toml", "a/config.json"]
    {
        assert_eq!(why(&hidden, path), None, "{path}");
    }
    for path in [
        "env.py",
        "id_rsa.pub",
        "keys.py",
        "src/key/mod.rs",
        "monkey",
        "auth.json",
        "browser_history",
        ".vscode/tasks.json",
        ".gitignore",
        ".github/x",
    ] {
        assert_eq!(why(&hidden, path), None, "{path}");
    }
}

#[test]
fn a_place_is_hidden_however_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("real/inner")).unwrap();
    std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
    for written in
        ["real", "real/", "real/.", "link", "link/", "link/.", "link/inner/..", "real/inner/..", "./real//"]
    {
        for path in [PathBuf::from(written), folder.path().join(written)] {
            let rules = HideRules { data_dir: Some(path), ..HideRules::default() };
            let hidden = Hidden::new(folder.path(), &rules).unwrap();
            assert_eq!(why(&hidden, "real/new/file"), Some(Reason::DataDirectory), "{written}");
        }
    }
}

#[test]
fn a_run_may_write_a_template_and_nothing_else_of_an_environment() {
    let (_folder, hidden) =
        hidden(&HideRules { globs: vec!["own.sample.env".into()], ..HideRules::default() });
    let bars = |path: &str| hidden.bars(&path.parse().unwrap()).is_some();
    for path in [".env.example", "a/.env.SAMPLE", "a/template.env"] {
        assert!(!bars(path) && why(&hidden, path).is_some(), "{path}");
    }
    for path in [
        ".env",
        ".env:x.example",
        ".env.example/x",
        ".envs/.env.example",
        "own.sample.env",
        ".git/config.sample.env",
    ] {
        assert!(bars(path), "{path}");
    }
}

#[test]
fn databases_bring_their_side_files_and_folders_bring_their_content() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let rules = HideRules {
        data_dir: Some(folder.path().join(".wflo")),
        databases: vec![folder.path().join("data/support.db")],
        globs: vec!["secrets/".into(), "*.sql".into()],
        ..HideRules::default()
    };
    let hidden = Hidden::new(folder.path(), &rules).unwrap();
    assert_eq!(why(&hidden, ".wflo/wflo.db"), Some(Reason::DataDirectory));
    for suffix in beside::SIDE_FILES {
        assert_eq!(why(&hidden, &format!("data/support.db{suffix}")), Some(Reason::Database));
    }
    assert_eq!(why(&hidden, "a/secrets/x/y"), Some(Reason::Configured));
    assert_eq!(why(&hidden, "dump.sql"), Some(Reason::Configured));
    assert_eq!(why(&hidden, "data/other.db"), None);
}

#[test]
fn a_store_that_lies_in_the_project_is_hidden_with_all_that_is_its() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let storage = folder.path().join("data/runs.db");
    let hidden = Hidden::new(folder.path(), &HideRules::new(&folder.path().join(".wflo"), &storage)).unwrap();
    for name in [
        "runs.db",
        "runs.db-journal",
        "runs.db-wal",
        "runs.db-shm",
        "runs.db-turn",
        "runs.db-owner",
        "RUNS.DB-JOURNAL",
        "blobs/ab/cd",
        "engines/e.lock",
        "gateway/s.1.log",
    ] {
        assert_eq!(why(&hidden, &format!("data/{name}")), Some(Reason::DataDirectory), "{name}");
    }
    assert_eq!(why(&hidden, "data/report.csv"), None);
}

#[test]
fn side_files_lie_where_a_link_to_the_database_leads() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/real.db"), "").unwrap();
    std::os::unix::fs::symlink("data/real.db", folder.path().join("main.db")).unwrap();
    let rules = HideRules { databases: vec![folder.path().join("main.db")], ..HideRules::default() };
    let hidden = Hidden::new(folder.path(), &rules).unwrap();
    for path in ["main.db-journal", "data/real.db", "data/real.db-journal", "data/real.db-wal"] {
        assert_eq!(why(&hidden, path), Some(Reason::Database), "{path}");
    }
}

#[test]
fn what_sqlite_takes_for_a_part_of_a_hidden_file_is_hidden() {
    let rules = HideRules { globs: vec!["customers.*".into(), "ledger".into()], ..HideRules::default() };
    let (_folder, hidden) = hidden(&rules);
    for path in
        ["ledger-journal", "a/ledger-wal", "ledger-SHM", "x/server.key-journal", "ledger-jour\u{200c}nal"]
    {
        assert!(why(&hidden, path).is_some(), "{path}");
    }
    for path in ["ledgers-journal", "app.db-journal", "notes-wal"] {
        assert_eq!(why(&hidden, path), None, "{path}");
    }
}

#[test]
fn a_pattern_that_cannot_be_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let rules = HideRules { globs: vec!["a/{b".into()], ..HideRules::default() };
    assert!(matches!(Hidden::new(folder.path(), &rules), Err(WorkspaceError::BadGlob { .. })));
}
