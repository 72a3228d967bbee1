//! What is laid beneath the toolchain: it adds files and replaces none.

use super::{launcher, run, sh};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use wflo_sandbox::Spec;
use wflo_testkit::executable;

fn write(root: &Path, name: &str, text: &str) {
    let file = root.join(name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    executable::written(&file, text);
}

fn with(tree: &Path, script: &str) -> Spec {
    let mut spec = sh(script);
    spec.beneath = Some(tree.to_owned());
    spec
}

#[test]
fn programs_that_are_laid_beneath_the_toolchain_are_found_where_they_belong() {
    let tree = tempfile::tempdir().unwrap();
    write(
        tree.path(),
        "usr/bin/wflo-hello",
        "#!/bin/sh\ncat /usr/share/wflo-hello/word /etc/wflo-hello/conf\n",
    );
    write(tree.path(), "usr/share/wflo-hello/word", "hello\n");
    write(tree.path(), "etc/wflo-hello/conf", "conf\n");
    write(tree.path(), "etc/ssl/wflo-hello", "ssl\n");
    write(tree.path(), "opt/hello/bin/far", "#!/bin/sh\necho far\n");
    write(tree.path(), "var/lib/hello/state", "state\n");
    symlink("/opt/hello/bin/far", tree.path().join("usr/bin/wflo-far")).unwrap();
    let script = "wflo-hello; wflo-far; cat /var/lib/hello/state; ls /opt /var; ls -d /etc/ssl/certs; ls -A /etc/ssl/private";
    let ran = run(with(tree.path(), script));
    let said = "hello\nconf\nfar\nstate\n/opt:\nhello\n\n/var:\nlib\ntmp\n";
    assert!(ran.text.starts_with(said), "{}", ran.text);
    if Path::new("/etc/ssl/certs").exists() {
        assert!(ran.text.contains("\n/etc/ssl/certs\n"), "{}", ran.text);
    }
    // The next one of the same launcher has nothing of it.
    let ran = run(sh("wflo-hello || ls /opt /etc/wflo-hello"));
    assert!(!ran.text.contains("hello\nconf"), "{}", ran.text);
    assert_ne!(ran.code(), 0, "{}", ran.text);
}

#[test]
fn what_the_host_and_the_sandbox_have_is_not_replaced() {
    let tree = tempfile::tempdir().unwrap();
    for name in ["usr/bin/env", "usr/bin/sh", "bin/sh", "etc/passwd", "etc/hosts", "etc/wflo"] {
        write(tree.path(), name, "#!/bin/sh\necho hijacked\n");
    }
    write(tree.path(), "usr/lib/os-release/x", "hijacked");
    write(tree.path(), "etc/mtab/x", "hijacked");
    write(tree.path(), "proc/version", "hijacked");
    write(tree.path(), "home/wflo/x", "hijacked");
    write(tree.path(), "root/x", "hijacked");
    symlink("/root", tree.path().join("opt")).unwrap();
    let plain = run(sh("cat /etc/passwd /etc/hosts; env true; ls /root; ls -A ~; cat /proc/version")).text;
    let script = "cat /etc/passwd /etc/hosts; env true; ls /root; ls -A ~; cat /proc/version";
    let ran = run(with(tree.path(), script));
    assert!(!ran.text.contains("hijacked"), "{}", ran.text);
    assert_eq!(ran.text, plain);
    let ran =
        run(with(tree.path(), "cat /etc/wflo; sh -c 'echo mine'; cat /usr/lib/os-release /etc/os-release"));
    assert!(ran.text.contains("hijacked\nmine\n"), "{}", ran.text);
    assert_eq!(ran.text.matches("hijacked").count(), 1, "{}", ran.text);
}

#[test]
fn links_in_it_lead_nowhere_while_a_root_is_made() {
    for (name, target) in [
        ("opt", "/tpl/proc"),
        ("opt", "/host"),
        ("opt", "/tpl"),
        ("opt", "../../tpl"),
        ("var", "/tpl"),
        ("usr", "/tpl/proc"),
        ("etc", "/tpl/proc"),
        ("etc/fonts", "/tpl/proc"),
        ("var/lib", "/tpl/proc"),
    ] {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "usr/bin/wflo-hello", "#!/bin/sh\necho hello\n");
        let link = tree.path().join(name);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        let _ = std::fs::remove_dir_all(&link);
        symlink(target, &link).unwrap();
        let ran = run(with(
            tree.path(),
            "ls -A /opt /var/lib; ls /etc/fonts/1 /usr/1 /etc/1 2>&1 | grep -v 'No such'; exit 0",
        ));
        let said: Vec<&str> = ran.text.lines().filter(|line| !line.contains("No such file")).collect();
        assert!(said.is_empty(), "{name} to {target}: {}", ran.text);
    }
}

#[test]
fn what_is_shown_beside_the_toolchain_shares_no_lock_and_is_bounded() {
    let tree = tempfile::tempdir().unwrap();
    write(tree.path(), "opt/one/file", "x");
    let lock = std::fs::File::open(tree.path().join("opt/one/file")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let ran = run(with(
        tree.path(),
        "flock -n /opt/one/file true && echo free; grep ' /opt/one ' /proc/self/mountinfo",
    ));
    assert!(ran.text.starts_with("free\n"), "{}", ran.text);
    assert!(!ran.text.contains(&*tree.path().to_string_lossy()), "{}", ran.text);
    for number in 0..65 {
        std::fs::create_dir_all(tree.path().join(format!("opt/{number}"))).unwrap();
    }
    let refused = launcher().launch(with(tree.path(), "true")).map(drop).unwrap_err();
    assert!(refused.to_string().contains("more than 64 folders"), "{refused}");
}

#[test]
fn whom_to_trust_is_the_hosts_word() {
    let tree = tempfile::tempdir().unwrap();
    write(tree.path(), "etc/ssl/certs/wflo-authority.pem", "hijacked");
    write(tree.path(), "etc/wflo-conf", "conf\n");
    let ran = run(with(tree.path(), "cat /etc/wflo-conf; cat /etc/ssl/certs/wflo-authority.pem"));
    let is_shown = Path::new("/etc/ssl").is_dir();
    assert!(ran.text.starts_with("conf\n") && !(is_shown && ran.text.contains("hijacked")), "{}", ran.text);
}

#[test]
fn nothing_of_it_can_be_written_or_gets_more_rights() {
    let tree = tempfile::tempdir().unwrap();
    write(tree.path(), "usr/bin/wflo-raised", "#!/bin/sh\nid -u\n");
    write(tree.path(), "etc/wflo-conf/x", "x");
    write(tree.path(), "opt/wflo-opt/x", "x");
    std::fs::set_permissions(tree.path().join("usr/bin/wflo-raised"), PermissionsExt::from_mode(0o6755))
        .unwrap();
    let script = "for f in /usr/bin/wflo-raised /usr/bin/new /etc/wflo-conf/x /etc/new /opt/wflo-opt/x /opt/new /var/lib/new; \
                  do (echo y > $f) 2>/dev/null && echo wrote $f; done; \
                  grep -E ' /(usr|etc|opt/wflo-opt) ' /proc/mounts | grep -v nosuid; \
                  grep -E ' /(usr|etc|opt/wflo-opt) ' /proc/mounts | grep -v nodev; exit 0";
    let ran = run(with(tree.path(), script));
    assert_eq!((ran.code(), ran.text.as_str()), (0, ""));
    assert_eq!(std::fs::read_to_string(tree.path().join("opt/wflo-opt/x")).unwrap(), "x");
}

#[test]
fn a_tree_that_is_not_there_is_an_error_and_no_sandbox_without_it() {
    let mut spec = sh("echo ran");
    spec.beneath = Some("/no/such/tree".into());
    assert!(launcher().launch(spec).is_err());
    let mut spec = sh("echo ran");
    spec.beneath = Some("relative/../tree".into());
    assert!(launcher().launch(spec).is_err());
}
