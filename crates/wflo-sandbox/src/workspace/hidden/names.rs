//! Names of files that hold credentials, and what of a content decides where the name does not.

use super::beside::SIDE_FILES;
use super::{Reason, Verdict, git};
use crate::workspace::path::RelPath;

const DATABASE_ENDINGS: [&str; 3] = [".db", ".sqlite", ".sqlite3"];
const KEY_ENDINGS: [&str; 15] = [
    ".key",
    ".p12",
    ".pfx",
    ".jks",
    ".keystore",
    ".kdbx",
    ".ppk",
    ".pkcs12",
    ".p8",
    ".tfstate",
    ".env",
    ".tfvars",
    ".tfvars.json",
    ".ovpn",
    ".keytab",
];
/// How names of files begin.
const KEY_STARTS: [&str; 4] = [".dev.vars", ".git-credentials", ".netrc", ".pgpass"];
/// A part of the name of a `.json`.
const KEY_JSON: [&str; 3] = ["-firebase-adminsdk-", "client_secret", "service-account"];
/// Files and folders.
const KEY_NAMES: [&str; 48] = [
    ".netrc",
    "_netrc",
    ".pgpass",
    ".my.cnf",
    ".pypirc",
    ".git-credentials",
    ".dockercfg",
    ".htpasswd",
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".vault-token",
    "credentials.json",
    ".boto",
    ".s3cfg",
    ".vault_pass",
    ".vault-pass",
    ".databrickscfg",
    ".terraformrc",
    "service-account.json",
    "application_default_credentials.json",
    ".mylogin.cnf",
    ".msmtprc",
    ".passwd-s3fs",
    ".secrets",
    "kubeconfig",
    "client_secret.json",
    "vault_pass.txt",
    ".credentials.json",
    ".ftpconfig",
    ".clasprc.json",
    ".sentryclirc",
    "token.pickle",
    "serviceaccountkey.json",
    "service_account.json",
    "pgpass.conf",
    "rclone.conf",
    "local.settings.json",
    "sftp-config.json",
    ".remote-sync.json",
    "credentials-config.json",
    "kaggle.json",
    "oauth_creds.json",
    ".histfile",
    ".zhistory",
    "fish_history",
];
/// A folder, and what in it is hidden.
const KEY_PATHS: [(&str, &str); 30] = [
    (".docker", "config.json"),
    (".config", "gcloud"),
    (".config", "gh"),
    (".cargo", "credentials"),
    (".cargo", "credentials.toml"),
    (".gem", "credentials"),
    (".streamlit", "secrets.toml"),
    (".terraform.d", "credentials.tfrc.json"),
    (".config", "hub"),
    (".config", "glab-cli"),
    (".config", "rclone"),
    (".composer", "auth.json"),
    (".codex", "auth.json"),
    (".m2", "settings.xml"),
    (".m2", "settings-security.xml"),
    (".gradle", "gradle.properties"),
    (".oci", "config"),
    (".bundle", "config"),
    (".vscode", "sftp.json"),
    (".vscode", "ftp-sync.json"),
    (".idea", "webservers.xml"),
    (".ngrok2", "ngrok.yml"),
    (".config", "ngrok"),
    (".config", "doctl"),
    (".config", "op"),
    (".config", "heroku"),
    (".config", "stripe"),
    (".fly", "config.yml"),
    (".huggingface", "token"),
    ("huggingface", "token"),
];
/// Hidden when a token or a password is in them; so is `*.pem` that is not only a certificate.
const BY_CONTENT: [&str; 5] = [".npmrc", "pip.conf", ".yarnrc", ".yarnrc.yml", ".condarc"];
/// Hidden when a secret is in them; the name alone says too little, and a run may make such a file.
const OFTEN: [&str; 13] = [
    "auth.json",
    "profiles.yml",
    "profiles.yaml",
    "secrets.json",
    "secrets.yml",
    "secrets.yaml",
    "secrets.toml",
    "secret.json",
    "token.json",
    "tokens.json",
    "credentials.yml",
    "credentials.yaml",
    "credentials.toml",
];
/// What a shell, or a prompt of a database or a language, was told: `.bash_history`, `.psql_history`.
const HISTORY: &str = "_history";
const SSH_KEYS: [&str; 4] = ["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"];

/// The verdict on a name, in lower case, and the path that it ends.
pub(super) fn verdict(path: &RelPath, name: &[u8], is_dir: bool) -> Verdict {
    let is = |known: &str| name == known.as_bytes();
    let ends = |ending: &str| name.ends_with(ending.as_bytes());
    let folder = path.parent().map(|folder| folder.name().to_ascii_lowercase()).unwrap_or_default();
    let in_folder = KEY_PATHS.iter().any(|(known, inside)| folder == known.as_bytes() && is(inside));
    if in_folder || KEY_NAMES.iter().any(|known| is(known)) {
        return Verdict::Hidden(Reason::KeyFile);
    }
    if is_dir {
        return Verdict::Visible;
    }
    let ssh = SSH_KEYS.iter().any(|key| name.starts_with(key.as_bytes())) && !ends(".pub");
    let history = name.starts_with(b".") && ends(HISTORY);
    let begins = KEY_STARTS.iter().any(|start| name.starts_with(start.as_bytes()));
    let has_part = |part: &&str| name.windows(part.len()).any(|window| window == part.as_bytes());
    if history || begins || (ends(".json") && KEY_JSON.iter().any(has_part)) {
        return Verdict::Hidden(Reason::KeyFile);
    }
    if ssh || is("credentials") || KEY_ENDINGS.iter().any(|ending| ends(ending)) || ends(".tfstate.backup") {
        return Verdict::Hidden(Reason::KeyFile);
    }
    if ends(".pem") || BY_CONTENT.iter().any(|known| is(known)) {
        return Verdict::ByContent(Reason::KeyFile);
    }
    if OFTEN.iter().any(|known| is(known)) {
        return Verdict::IfContent(Reason::KeyFile);
    }
    // A configuration whose folder does not say that it is Git's, and files with addresses.
    if is("config") || is("hgrc") || is(".hgrc") || is(".gitmodules") || is(".lfsconfig") {
        return Verdict::IfContent(Reason::GitCredentials);
    }
    if database(name).is_some() { Verdict::IfContent(Reason::DataDirectory) } else { Verdict::Visible }
}

/// The name of the database that a file belongs to, by the file's name.
fn database(name: &[u8]) -> Option<&[u8]> {
    let bases = SIDE_FILES.iter().filter_map(|suffix| name.strip_suffix(suffix.as_bytes()));
    bases.into_iter().find(|base| {
        let lower = base.to_ascii_lowercase();
        DATABASE_ENDINGS.iter().any(|ending| lower.ends_with(ending.as_bytes()))
    })
}

/// How much of a file is looked at to decide; one that is longer counts as a secret.
pub(crate) const CONTENT_LIMIT: u64 = 1024 * 1024;
/// The length of SQLite's header.
const HEADER: u64 = 100;

/// Whose content decides about a file, a sibling of it, and how much of that is read.
pub(crate) fn decided_by(name: &[u8]) -> (&[u8], u64) {
    database(name).map_or((name, CONTENT_LIMIT), |database| (database, HEADER))
}

/// Whether a file that may hold a secret does: a certificate bundle or a plain `.npmrc` does not,
/// and many programs cannot work without theirs. A database does when it is a store of wflo's.
pub(crate) fn holds_secret(name: &[u8], content: &[u8]) -> bool {
    if database(name).is_some() {
        // The application id in SQLite's header (<https://www.sqlite.org/fileformat.html>, 1.3).
        return content.starts_with(b"SQLite format 3\0") && content.get(68..72) == Some(b"wflo");
    }
    if content.len() as u64 >= CONTENT_LIMIT {
        return true;
    }
    let lower = content.to_ascii_lowercase();
    let has = |needle: &[u8]| lower.windows(needle.len()).any(|window| window == needle);
    if name.to_ascii_lowercase().ends_with(b".pem") {
        let only_public = has(b"-----begin certificate") || has(b"-----begin public key");
        return has(b"private key") || has(b"encrypted") || !only_public;
    }
    if OFTEN.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
        return has(b"private key-----")
            || has(b"-oauth\"")
            || git::url_with_user(&lower).is_some()
            || assigned(&lower)
            || has_token(&lower);
    }
    let said: [&[u8]; 7] = [
        b"_auth",
        b"password",
        b"authtoken",
        b"extraheader",
        b"authorization:",
        b"bearer ",
        b"private key-----",
    ];
    said.iter().any(|word| has(word)) || git::url_with_user(&lower).is_some() || assigned(&lower)
}

/// So much of a setting is looked at, in bytes.
const LOOKED_AT: usize = 1024;
/// Words of which a value is a secret, wherever in a setting's name they stand.
const SECRETS: [&str; 13] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "apikey",
    "api_key",
    "api-key",
    "accesskey",
    "access_key",
    "access-key",
    "private_key",
    "privatekey",
];

/// Whether a setting of such a name has a value that could be one: `token = x`, `"token": "x"`, `--token=x`. What only
/// names a variable, a file's template or nothing is none, nor is a sentence. In lower case.
fn assigned(lower: &[u8]) -> bool {
    let text = String::from_utf8_lossy(lower);
    SECRETS.iter().any(|word| {
        text.match_indices(word).any(|(at, _)| {
            // Not all of a long line again for each of its words.
            let rest = text.get(at + word.len()..).unwrap_or("");
            let rest = rest.get(..rest.floor_char_boundary(LOOKED_AT)).unwrap_or(rest);
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "_-.\"'".contains(c));
            let rest = rest.trim_start_matches([' ', '\t']);
            rest.strip_prefix(['=', ':']).is_some_and(|value| could_be_secret(word, value))
        })
    })
}

/// Whether a word is a token by how it begins, as those of code hosts, clouds and model providers are.
fn has_token(lower: &[u8]) -> bool {
    const BEGINS: [&[u8]; 14] = [
        b"ghp_",
        b"gho_",
        b"ghs_",
        b"github_pat_",
        b"glpat-",
        b"sk-",
        b"xoxb-",
        b"xoxp-",
        b"akia",
        b"asia",
        b"npm_",
        b"pypi-",
        b"ya29.",
        b"eyj",
    ];
    let words = lower.split(|byte| !(byte.is_ascii_alphanumeric() || b"_-.".contains(byte)));
    words.into_iter().any(|word| word.len() >= 20 && BEGINS.iter().any(|begin| word.starts_with(begin)))
}

fn could_be_secret(word: &str, value: &str) -> bool {
    let value = value.lines().next().unwrap_or("").trim_start_matches(['=', ' ', '\t']);
    let value = match value.strip_prefix(['"', '\'']) {
        Some(quoted) => quoted.split(['"', '\'']).next().unwrap_or(""),
        None => value.split([' ', '\t', ',', ';', '}', '#']).next().unwrap_or(""),
    };
    let none = ["true", "false", "null", "none", "nil", "~"];
    let is_short_number = value.len() < 8 && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    value.len() >= 4
        && value != word
        && !none.contains(&value)
        && !value.contains(' ')
        && !is_short_number
        && !value.starts_with(['/', '~', '$', '{', '[', '<', '%', '!', '&', '*', '|', '>'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_names_every_name() {
        let page = include_str!("../../../../../docs/reference/hidden.md");
        let paths = KEY_PATHS.map(|(folder, inside)| format!("{folder}/{inside}"));
        let endings = KEY_ENDINGS.iter().chain(&DATABASE_ENDINGS).map(|ending| format!("*{ending}"));
        let ssh = SSH_KEYS.map(|key| format!("{key}*"));
        let names = KEY_NAMES.map(str::to_owned).into_iter().chain(paths).chain(endings).chain(ssh);
        let starts = KEY_STARTS.map(|start| format!("{start}*")).into_iter();
        let parts = KEY_JSON.map(|part| format!("*{part}*.json"));
        let names = names.chain(starts).chain(parts).chain([format!(".*{HISTORY}")]);
        for name in names.chain(BY_CONTENT.map(str::to_owned)).chain(OFTEN.map(str::to_owned)) {
            assert!(page.contains(&format!("`{name}`")), "docs/reference/hidden.md lacks {name}");
        }
    }

    #[test]
    fn a_certificate_is_no_key_and_a_plain_npmrc_no_credential() {
        let certificate = b"-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n";
        assert!(!holds_secret(b"cacert.pem", certificate));
        assert!(holds_secret(b"k.pem", b"-----BEGIN RSA PRIVATE KEY-----\n"));
        assert!(holds_secret(b"k.pem", b"what is this"));
        assert!(!holds_secret(b".npmrc", b"registry=https://registry.npmjs.org/\n"));
        assert!(holds_secret(b".npmrc", b"//r/:_authToken=abc\n"));
        assert!(holds_secret(b"pip.conf", b"index-url = https://me:pw@host/simple\n"));
    }

    #[test]
    fn what_often_holds_secrets_is_hidden_when_it_does() {
        for (name, secret) in [
            ("auth.json", r#"{"github-oauth": {"github.com": "0123456789abcdef"}}"#),
            ("auth.json", r#"{"http-basic": {"host": {"username": "me", "password": "hunter22"}}}"#),
            ("auth.json", r#"{"anthropic": {"type": "api", "key": "sk-ant-0123456789abcdef"}}"#),
            ("profiles.yml", "prod:\n  password: hunter22\n"),
            ("secrets.yml", "production:\n  secret_key_base: 0123456789\n"),
            ("secrets.json", r#"{"Db": "Server=x;Password=hunter22"}"#),
            ("token.json", r#"{"refresh_token": "1//0abcdef"}"#),
            ("Secrets.JSON", r#"{"url": "postgres://u:p@host/db"}"#),
        ] {
            assert!(holds_secret(name.as_bytes(), secret.as_bytes()), "{name} {secret}");
        }
        for (name, plain) in [
            ("auth.json", r#"{"password": "The password is wrong.", "token": "Token"}"#),
            ("profiles.yml", "dev:\n  password: \"{{ env_var('PW') }}\"\n  pass: $PW\n"),
            ("secrets.yml", "production:\n  secret_key_base: <%= ENV['KEY'] %>\n"),
            ("secrets.json", r#"{"secrets": []}"#),
        ] {
            assert!(!holds_secret(name.as_bytes(), plain.as_bytes()), "{name} {plain}");
        }
    }

    #[test]
    fn a_database_is_a_secret_when_it_is_wflos_own() {
        let mut header = vec![0; 100];
        header[..16].copy_from_slice(b"SQLite format 3\0");
        assert!(!holds_secret(b"app.db", &header));
        header[68..72].copy_from_slice(b"wflo");
        for name in ["old.db", "OLD.SQLITE3", "wflo.db-wal", "x.sqlite-journal"] {
            assert!(holds_secret(name.as_bytes(), &header), "{name}");
        }
        assert_eq!(decided_by(b"wflo.db-wal").0, b"wflo.db");
    }

    #[test]
    fn an_address_with_a_user_is_a_secret_wherever_git_keeps_it() {
        assert!(holds_secret(b"config", b"[remote \"o\"]\n\turl = https://u:t@host/x\n"));
        assert!(!holds_secret(b".gitmodules", b"[submodule \"x\"]\n\turl = https://host/x\n"));
    }

    #[test]
    fn a_configuration_with_a_secret_in_it_is_one() {
        for secret in [
            "[http \"https://host/\"]\n\textraheader = AUTHORIZATION: basic c2VjcmV0",
            "[http]\n\textraHeader = Bearer abcdef",
            "[credential]\n\thelper = \"!echo username=x; echo token=abcd1234; #\"",
            "[http]\n\tproxy = http://u:p@host",
            "[github]\n\toauthToken = abcd1234",
            "[imap]\n\tpass = x\n\tpassword=x",
            "[x]\n\tsslKeyPassphrase = abcd",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
        ] {
            assert!(holds_secret(b"config", secret.as_bytes()), "{secret}");
        }
        for plain in [
            "[credential]\n\thelper = store\n[core]\n\tbare = true\n",
            "tokens = 100000\ntoken = ${TOKEN}\nsecret = \"\"\nsecretName: <the name>\n",
            "token: true\nsecret: null",
        ] {
            assert!(!holds_secret(b"config", plain.as_bytes()), "{plain}");
        }
    }
}
