//! The same promises for an ordinary user.

use super::is_root;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use wflo_testkit::executable;

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
        let to = reachable.path().join(name);
        executable::copied(from, &to);
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
