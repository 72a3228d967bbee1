//! Which image is run, and when none is.

use super::{Daemon, World};
use std::process::{Command, Stdio};
use wflo_core::error::Coded as _;
use wflo_sandbox::Spec;
use wflo_sandbox::docker::{Options, Pull, resolve};
use wflo_testkit::executable;

type Environment = std::collections::BTreeMap<std::ffi::OsString, std::ffi::OsString>;

/// An image of this host's `/usr`, imported as `docker import` does: from no registry.
fn imported(daemon: &Daemon, name: &str) {
    let files = "/bin /sbin /lib /lib64 /usr/bin/sh /usr/bin/dash /usr/bin/env /usr/bin/id /usr/lib/x86_64-linux-gnu/libc.so.6 \
                 /usr/lib64 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 /usr/lib/x86_64-linux-gnu/libselinux.so.1 \
                 /usr/lib/x86_64-linux-gnu/libpcre2-8.so.0*";
    let script = format!(
        "tar --create --ignore-failed-read --file - {files} 2>/dev/null | \
         docker --host {} import --change 'ENV FROM_IMAGE=yes' - {name}",
        daemon.host
    );
    let done = Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).status().unwrap();
    assert!(done.success());
}

fn code(options: &Options, host: &str, environment: &Environment) -> String {
    resolve(host, options, environment).unwrap_err().code().to_string()
}

fn named(image: &str) -> Options {
    Options { image: Some(image.to_owned()), pull: Pull::Never, ..Options::default() }
}

#[test]
fn a_daemon_that_does_not_answer_is_named() {
    let environment = Environment::new();
    assert_eq!(code(&Options::default(), "unix:///nowhere/docker.sock", &environment), "WFLO-5270");
    assert_eq!(code(&Options::default(), "ssh://somewhere", &environment), "WFLO-5270");
}

#[test]
fn what_is_not_there_is_named() {
    let Some(daemon) = Daemon::get() else { return };
    let environment = Environment::new();
    assert_eq!(code(&named("wflo-test-absent:1"), &daemon.host, &environment), "WFLO-5271");
    let absent = Options { pull: Pull::Missing, ..named("127.0.0.1:1/absent:1") };
    assert_eq!(code(&absent, &daemon.host, &environment), "WFLO-5272");
    let runtime = Options { runtime: Some("no-such".to_owned()), ..Options::default() };
    assert_eq!(code(&runtime, &daemon.host, &environment), "WFLO-5273");
}

#[test]
fn a_run_keeps_the_image_that_it_was_submitted_with() {
    let Some(daemon) = Daemon::get() else { return };
    imported(daemon, "wflo-test-kept:1");
    let options = named("wflo-test-kept:1");
    let world = World::of(daemon, &options);
    let (text, exit) =
        world.run(Spec::new(["sh", "-c", "echo $FROM_IMAGE; test -e /usr/bin/python3 || echo no python"]));
    assert!(exit.success(), "{text}");
    assert_eq!(text, "yes\nno python\n", "the image's own environment and files, and not the host's");
    let environment = Environment::new();
    let image = resolve(&daemon.host, &options, &environment).unwrap();
    let pinned = named(&format!("wflo-test-kept@{}", image.id));
    // The daemon finds by a registry's digest alone; the id of an image is a name of its own.
    assert_eq!(code(&pinned, &daemon.host, &environment), "WFLO-5271");
    let by_id = resolve(&daemon.host, &named(&image.id), &environment).unwrap();
    assert_eq!(by_id.id, image.id);
}

/// Answers as trivy does, whatever it is asked.
fn fake_scanner(name: &str, answer: &str) -> (tempfile::TempDir, Environment) {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("#!/bin/sh\n[ \"$1\" = image ] || exit 9\ncat <<'END'\n{answer}\nEND\n");
    executable::written(folder.path().join(name), text);
    let search = format!("{}:/usr/bin:/bin", folder.path().display());
    (folder, [("PATH".into(), search.into())].into())
}

/// What trivy 0.58 prints for one package, shortened to the fields that it always has.
fn trivy(severity: &str) -> String {
    format!(
        r#"{{
  "SchemaVersion": 2,
  "CreatedAt": "2026-11-29T13:00:00.000000000Z",
  "ArtifactName": "wflo-test-scanned:1",
  "ArtifactType": "container_image",
  "Metadata": {{ "OS": {{ "Family": "debian", "Name": "12.8" }} }},
  "Results": [
    {{
      "Target": "wflo-test-scanned:1 (debian 12.8)",
      "Class": "os-pkgs",
      "Type": "debian",
      "Vulnerabilities": [
        {{
          "VulnerabilityID": "CVE-2026-0001",
          "PkgID": "libc6@2.36-9+deb12u8",
          "PkgName": "libc6",
          "InstalledVersion": "2.36-9+deb12u8",
          "Status": "affected",
          "Severity": "{severity}"
        }}
      ]
    }}
  ]
}}"#
    )
}

#[test]
fn a_required_scan_refuses_what_is_not_scanned_or_grave() {
    let Some(daemon) = Daemon::get() else { return };
    imported(daemon, "wflo-test-scanned:1");
    let required = Options { require_scan: true, ..named("wflo-test-scanned:1") };
    let nothing: Environment = [("PATH".into(), "/nowhere".into())].into();
    assert_eq!(code(&required, &daemon.host, &nothing), "WFLO-5277");
    let own_tools = Options { require_scan: true, ..Options::default() };
    assert_eq!(code(&own_tools, &daemon.host, &nothing), "WFLO-5277");

    let (_grave, environment) = fake_scanner("trivy", &trivy("CRITICAL"));
    assert_eq!(code(&required, &daemon.host, &environment), "WFLO-5278");
    let only_told = Options { require_scan: false, ..required.clone() };
    let image = resolve(&daemon.host, &only_told, &environment).unwrap();
    assert_eq!(image.scan.unwrap().named, ["CVE-2026-0001"]);

    let (_mild, environment) = fake_scanner("trivy", &trivy("LOW"));
    let image = resolve(&daemon.host, &required, &environment).unwrap();
    assert_eq!(image.scan.unwrap().counts.get("low"), Some(&1));

    let (_broken, environment) = fake_scanner("trivy", "not JSON");
    assert_eq!(code(&required, &daemon.host, &environment), "WFLO-5279");
    assert!(resolve(&daemon.host, &only_told, &environment).unwrap().scan.is_none());
}
