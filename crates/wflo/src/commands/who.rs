//! Who sits here: the one identity of embedded mode.

/// `local:<os user>`: the name of the process's real user, else its number.
pub(crate) fn local() -> String {
    let user = rustix::process::getuid().as_raw();
    let name = std::fs::read_to_string("/etc/passwd").ok().and_then(|file| name_of(&file, user));
    format!("local:{}", name.unwrap_or_else(|| user.to_string()))
}

/// A user's name in the text of `/etc/passwd`.
fn name_of(passwd: &str, user: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(user) && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_the_name_that_the_system_gives() {
        let file = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n";
        assert_eq!(name_of(file, 1000).as_deref(), Some("ada"));
        assert_eq!(name_of(file, 0).as_deref(), Some("root"));
        assert_eq!(name_of(file, 7), None);
        assert_eq!(name_of("broken", 7), None);
    }
}
