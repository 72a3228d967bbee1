//! The same promises for an ordinary user.

use super::is_root;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const NOBODY: &str = "65534";

#[test]
fn an_ordinary_user_is_promised_the_same() {
    if !is_root() {
        // This run is the one that the test as root starts.
        return;
    }
    // Where the build lies, an ordinary user may not go.
    let reachable = tempfile::tempdir().unwrap();
    let copy = |from: &std::path::Path, name: &str| {
        // By another process: a file that this one has open to write is "busy" in whatever a test beside this one
        // starts meanwhile, and cannot be run.
        let to = reachable.path().join(name);
        let made = Command::new("install").args(["-m", "755"]).args([from, &to]).status();
        assert!(made.unwrap().success());
        to
    };
    std::fs::set_permissions(reachable.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let tests = copy(&std::env::current_exe().unwrap(), "tests");
    let launcher = copy(&super::program(), "launcher");
    let ran = Command::new("setpriv")
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"])
        .arg(&tests)
        .args(["--test-threads", "4"])
        .env("WFLO_TEST_LAUNCHER", &launcher)
        .env("TMPDIR", reachable.path())
        .current_dir(reachable.path())
        .output()
        .expect("setpriv (util-linux) runs the tests as an ordinary user");
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "as an ordinary user:\n{text}\n{}", String::from_utf8_lossy(&ran.stderr));
}
