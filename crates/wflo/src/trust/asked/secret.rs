//! Secrets of hosts, which a program never sees.

use std::path::Path;

use super::{Asked, of_command, text, texts};
use crate::document::Table;

/// A secret of hosts: a project could have any value that can be read sent to a host of its own.
pub(super) fn of_secret(key: &str, secret: &Table, root: &Path, found: &mut Vec<Asked>) {
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
