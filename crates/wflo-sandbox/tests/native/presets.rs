//! What each preset lets a program ask the kernel for.

use super::{python, run, sh};
use wflo_sandbox::{Bind, Preset, View};

const EACCES: &str = "Permission denied";

#[test]
fn nothing_that_was_written_is_executed_in_a_strict_sandbox() {
    let folder = tempfile::tempdir().unwrap();
    let shared = tempfile::tempdir().unwrap();
    let write = |preset, workspace: bool| {
        let places = if workspace { folder.path().to_str().unwrap() } else { "/workspace" };
        let mut spec = sh(&format!(
            "for d in /tmp /home/wflo /dev/shm /var/tmp {places} {}; do \
             cp /bin/true $d/program && $d/program && echo ran $d; done",
            shared.path().display()
        ));
        spec.preset = preset;
        spec.rw = vec![Bind::same(shared.path())];
        if workspace {
            let target = folder.path().to_owned();
            spec.workspace = Some(View { lowers: vec![target.clone()], target });
        }
        run(spec).text
    };
    for workspace in [false, true] {
        let text = write(Preset::Strict, workspace);
        assert!(!text.contains("ran") && text.matches(EACCES).count() == 6, "{text}");
        // What is executable without the preset.
        assert_eq!(write(Preset::Default, workspace).matches("ran").count(), 6);
    }
}

#[test]
fn an_interpreter_works_in_a_strict_sandbox_and_finds_tcp_and_no_more() {
    let mut spec = python(
        "import os, socket, subprocess, json, ssl, sqlite3, concurrent.futures as f\n\
         with socket.create_server(('127.0.0.1', 0)) as s: socket.create_connection(s.getsockname()).close()\n\
         print(subprocess.run(['uname'], capture_output=True, text=True).stdout.strip())\n\
         with f.ThreadPoolExecutor() as pool: print(sum(pool.map(abs, range(4))))\n\
         for make in (lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), lambda: os.memfd_create('x')):\n\
         \x20   try: print('made', make())\n\
         \x20   except OSError as error: print('refused')\n",
    );
    spec.preset = Preset::Strict;
    let text = run(spec).text;
    assert_eq!(text, "Linux\n6\nrefused\nrefused\n");
}

#[test]
fn a_sandbox_to_build_in_traces_its_own_and_not_its_pid_1() {
    let trace = |preset| {
        let mut spec = python(
            "import ctypes, os, signal\n\
             libc = ctypes.CDLL(None, use_errno=True)\n\
             child = os.fork()\n\
             if child == 0: signal.pause()\n\
             print('child', libc.ptrace(0x4206, child, 0, 0))\n\
             print('pid 1', libc.ptrace(0x4206, 1, 0, 0))\n\
             os.kill(child, 9)\n",
        );
        spec.preset = preset;
        run(spec).text
    };
    assert_eq!(trace(Preset::Build), "child 0\npid 1 -1\n");
    assert_eq!(trace(Preset::Default), "child -1\npid 1 -1\n");
}
