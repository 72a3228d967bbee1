//! `wflo sandbox exec` ends with the promised codes and takes its streams from the terminal.

use super::wflo::Folder;

#[test]
fn the_commands_own_code_is_the_exit_code() {
    let folder = Folder::new();
    for code in [0, 7, 255] {
        let script = format!("exit {code}");
        assert_eq!(folder.run(&["sandbox", "exec", "--", "sh", "-c", &script]).code, code);
    }
}

#[test]
fn streams_are_inherited() {
    let ended =
        Folder::new().run_with(&["sandbox", "exec", "--", "sh", "-c", "cat; echo to-err >&2"], "from-in");
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, "from-in", "to-err\n"));
}

#[test]
fn a_time_out_ends_with_124() {
    let ended = Folder::new().run(&["sandbox", "exec", "--timeout", "100ms", "--", "sleep", "60"]);
    assert_eq!(ended.code, 124);
    assert!(ended.stderr.contains("time was up"), "{}", ended.stderr);
}

#[test]
fn a_program_that_is_not_there_ends_with_127_and_a_hint() {
    let ended = Folder::new().run(&["sandbox", "exec", "--", "no-such-program"]);
    assert_eq!(ended.code, 127);
    assert!(ended.stderr.starts_with("error: `no-such-program`"), "{}", ended.stderr);
    assert!(ended.stderr.contains("[WFLO-3105]") && ended.stderr.contains("hint:"), "{}", ended.stderr);
}

#[test]
fn who_names_a_file_of_this_folder_is_told_that_the_command_starts_in_another() {
    let folder = Folder::with(&[("agent.sh", "#!/bin/sh\necho run\n")]);
    let unseen = folder.run(&["sandbox", "exec", "--", "sh", "agent.sh"]);
    assert_ne!(unseen.code, 0);
    assert!(unseen.stderr.contains("agent.sh of this folder is not seen"), "{}", unseen.stderr);
    assert!(unseen.stderr.contains("`wflo sandbox exec --workspace . -- …`"), "{}", unseen.stderr);
    let seen = folder.run(&["sandbox", "exec", "--workspace", ".", "--", "sh", "agent.sh"]);
    assert_eq!((seen.code, seen.stdout.as_str(), seen.stderr.as_str()), (0, "run\n", ""));
    let program = folder.run(&["sandbox", "exec", "--", "agent.sh"]);
    assert!(program.stderr.contains("--workspace . -- ./agent.sh`"), "{}", program.stderr);
}

#[test]
fn a_sandbox_that_cannot_be_made_ends_with_125() {
    let folder = Folder::new();
    let missing_mount = ["sandbox", "exec", "--ro", "/no/such/folder:/there", "--", "true"];
    assert_eq!(folder.run(&missing_mount).code, 125);
    let missing_workspace = ["sandbox", "exec", "--workspace", "nowhere", "--", "true"];
    assert_eq!(folder.run(&missing_workspace).code, 125);
}

#[test]
fn a_memory_limit_that_kills_ends_with_137() {
    let script = "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}";
    let ended = Folder::new().run(&["sandbox", "exec", "--memory", "32m", "--", "sh", "-c", script]);
    assert_eq!(ended.code, 137, "{}{}", ended.stdout, ended.stderr);
}

#[test]
fn nothing_of_the_environment_goes_in_unless_named() {
    let folder = Folder::new().setting("SECRET", "s3cret").setting("WANTED", "yes");
    let ended = folder.run(&["sandbox", "exec", "--env", "WANTED", "--env", "SET=1", "--", "env"]);
    assert!(ended.stdout.contains("WANTED=yes") && ended.stdout.contains("SET=1"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("s3cret"));
    assert_eq!(folder.run(&["sandbox", "exec", "--env", "NOT_SET", "--", "env"]).code, 2);
}

#[test]
fn a_workspace_is_a_copy_and_hides_what_is_secret() {
    let folder = Folder::with(&[("work/a.txt", "before"), ("work/.env", "KEY=s3cret")]);
    let script = "cat a.txt; echo after > a.txt; echo new > b.txt; cat .env";
    let ended = folder.run(&["sandbox", "exec", "--workspace", "work", "--", "sh", "-c", script]);
    assert_eq!(ended.stdout, "before", "{}", ended.stderr);
    assert_eq!(folder.read("work/a.txt"), "before");
    assert!(!folder.exists("work/b.txt"));
}

#[test]
fn what_changed_is_kept_when_asked() {
    let folder = Folder::with(&[("work/a.txt", "before")]);
    let script = "echo after > a.txt";
    let ended = folder.run(&["sandbox", "exec", "--workspace", "work", "--keep", "--", "sh", "-c", script]);
    let kept =
        ended.stderr.trim().strip_prefix("Kept 1 change in ").unwrap_or_else(|| panic!("{}", ended.stderr));
    let parent = folder.path().parent().unwrap().display().to_string();
    let tree = kept.replace("[DIR]", &parent);
    assert_eq!(std::fs::read_to_string(format!("{tree}/a.txt")).unwrap(), "after\n");
    assert_eq!(folder.read("work/a.txt"), "before");
}

#[test]
fn a_folder_to_read_is_shown_without_its_secrets() {
    let folder = Folder::new();
    let shared = folder.path().join("shared");
    std::fs::create_dir_all(shared.join("sub")).unwrap();
    for name in [".env", "sub/id_rsa", "plain"] {
        std::fs::write(shared.join(name), "hunter2").unwrap();
    }
    let script = "cat /s/.env /s/sub/id_rsa; ls -A /s /s/sub; cat /named";
    let ended = folder.run(&[
        "sandbox",
        "exec",
        "--ro",
        "./shared:/s",
        "--ro",
        "./shared/.env:/named",
        "--",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(ended.stdout, "/s:\nplain\nsub\n\n/s/sub:\nhunter2", "{}", ended.stderr);
}

#[test]
fn a_preset_is_kept_and_a_wrong_one_is_told_what_there_is() {
    let folder = Folder::new();
    let script = "cp /bin/true /tmp/t && /tmp/t";
    let code = |preset| folder.run(&["sandbox", "exec", "--preset", preset, "--", "sh", "-c", script]).code;
    assert_eq!((code("strict"), code("default")), (126, 0));
    let wrong = folder.run(&["sandbox", "exec", "--preset", "loose", "--", "true"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("strict, default or build"), "{}", wrong.stderr);
}

#[test]
fn the_policy_is_printed_for_other_engines() {
    let folder = Folder::new();
    let profile =
        |format| folder.run(&["sandbox", "profile", "--format", format, "--preset", "strict"]).stdout;
    let seccomp: serde_json::Value = serde_json::from_str(&profile("seccomp-json")).unwrap();
    assert_eq!(seccomp["defaultAction"], "SCMP_ACT_ERRNO");
    assert!(profile("apparmor").contains("profile wflo-strict "));
}
