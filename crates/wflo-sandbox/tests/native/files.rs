//! What a sandbox sees, and where it may write.

use super::{is_root, launcher, python, run, sh, start};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use wflo_sandbox::{Bind, Spec, View};
use wflo_testkit::executable;

/// A folder that this user owns.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn view(folder: &Path) -> Option<View> {
    Some(View { lowers: vec![folder.to_owned()], target: folder.to_owned() })
}

#[test]
fn host_files_are_not_there() {
    let host = folder();
    let secret = host.path().join("secret");
    std::fs::write(&secret, "hunter2").unwrap();
    let ran = run(sh(&format!(
        "cat {} /etc/shadow /root/.bashrc; ls /root /var/log /run/* /sys /home/*; cat /etc/hostname",
        secret.display()
    )));
    assert!(!ran.text.contains("hunter2"), "{}", ran.text);
    assert!(ran.text.contains("/etc/shadow: No such file"), "{}", ran.text);
    assert!(ran.text.ends_with("sandbox\n"), "{}", ran.text);
}

#[test]
fn nothing_can_be_written_but_the_writable_folders() {
    let ran = run(sh("for d in / /usr /usr/bin /etc /dev /proc /proc/sys/kernel /home /var /run; do \
         (echo x > $d/wflo-test) 2>/dev/null && echo wrote $d; done; \
         for d in /tmp /home/wflo /dev/shm /workspace; do echo x > $d/f && echo may $d; done"));
    assert_eq!(ran.text, "may /tmp\nmay /home/wflo\nmay /dev/shm\nmay /workspace\n");
    assert!(!Path::new("/usr/wflo-test").exists());
}

#[test]
fn the_home_folder_begins_with_the_files_that_were_given_and_they_are_the_programs_own() {
    let mut spec =
        sh("cd; cat .tool/config; stat -c '%a %U' .tool .tool/config; echo more >> .tool/config; ls -A");
    spec.home = vec![(".tool/config".into(), "at {model_port}\n".into()), (".other".into(), "".into())];
    spec.model_listener = true;
    let (sandbox, mut output) = start(spec);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut output, &mut text).unwrap();
    let port = sandbox.model_port().unwrap();
    assert_eq!(text, format!("at {port}\n755 wflo\n600 wflo\n.other\n.tool\n"));
    assert!(sandbox.wait().unwrap().success());
    for path in ["../out", "/etc/passwd", "a/../../b"] {
        let mut spec = sh("exit 0");
        spec.home = vec![(path.into(), "".into())];
        let refused = launcher().launch(spec).map(drop);
        assert!(refused.is_err(), "{path}");
    }
}

#[test]
fn the_workspace_is_changed_in_a_copy_and_the_changes_can_be_read_after_the_end() {
    let project = folder();
    std::fs::write(project.path().join("kept"), "old").unwrap();
    std::fs::write(project.path().join("gone"), "old").unwrap();
    // Only its owner may read it: the sandbox's user stands for the owner.
    std::fs::set_permissions(project.path().join("kept"), PermissionsExt::from_mode(0o600)).unwrap();
    let mut spec = sh("pwd; cat kept; echo new > kept; rm gone; mkdir made; echo in > made/file; ls");
    spec.workspace = view(project.path());
    let (sandbox, mut output) = start(spec);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut output, &mut text).unwrap();
    assert!(sandbox.wait().unwrap().success(), "{text}");
    assert_eq!(text, format!("{}\noldkept\nmade\n", project.path().display()));
    assert_eq!(std::fs::read_to_string(project.path().join("kept")).unwrap(), "old");
    assert!(project.path().join("gone").exists());

    let upper = PathBuf::from(format!("/proc/self/fd/{}", sandbox.upper().unwrap().as_raw_fd()));
    assert_eq!(std::fs::read_to_string(upper.join("kept")).unwrap(), "new\n");
    assert_eq!(std::fs::read_to_string(upper.join("made/file")).unwrap(), "in\n");
    let whiteout = std::fs::symlink_metadata(upper.join("gone")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    let owner = sandbox.owner();
    assert_eq!(std::fs::metadata(upper.join("made/file")).unwrap().uid(), owner.upper_uid);
    assert_eq!(std::fs::metadata(project.path()).unwrap().uid(), owner.host_uid);
    assert_ne!(owner.inside_uid, 0);
}

#[test]
fn layers_lie_on_each_other_and_a_whiteout_hides_what_is_below() {
    let (top, bottom) = (folder(), folder());
    std::fs::write(bottom.path().join("hidden"), "secret").unwrap();
    std::fs::write(bottom.path().join("seen"), "bottom").unwrap();
    std::fs::write(top.path().join("seen"), "top").unwrap();
    let device = rustix::fs::makedev(0, 0);
    let mode = rustix::fs::Mode::from(0o600);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        top.path().join("hidden"),
        rustix::fs::FileType::CharacterDevice,
        mode,
        device,
    )
    .unwrap();
    let mut spec = sh("cat seen; ls; cat /stage/l1/hidden");
    spec.workspace =
        Some(View { lowers: vec![top.path().into(), bottom.path().into()], target: "/root/project".into() });
    let ran = run(spec);
    assert!(ran.text.starts_with("topseen\n"), "{}", ran.text);
    assert!(!ran.text.contains("secret"));
}

#[test]
fn binds_are_read_only_unless_they_are_not() {
    let (read, written) = (folder(), folder());
    std::fs::write(read.path().join("data"), "data").unwrap();
    let mut spec = sh(&format!(
        "cat {r}/data; touch {r}/new; echo out > {w}/result; touch {r}/data; exit 0",
        r = read.path().display(),
        w = written.path().display()
    ));
    spec.ro.push(Bind::same(read.path()));
    spec.rw.push(Bind::same(written.path()));
    let ran = run(spec);
    assert!(ran.text.starts_with("data"), "{}", ran.text);
    assert_eq!(std::fs::read_dir(read.path()).unwrap().count(), 1);
    let result = written.path().join("result");
    assert_eq!(std::fs::read_to_string(&result).unwrap(), "out\n");
    // Written by the sandbox's user, owned by the folder's owner.
    let owner = std::fs::metadata(written.path()).unwrap().uid();
    assert_eq!(std::fs::metadata(&result).unwrap().uid(), owner);
}

#[test]
fn a_socket_or_fifo_in_a_folder_that_is_read_leads_nowhere() {
    let read = folder();
    let _listener = std::os::unix::net::UnixListener::bind(read.path().join("d.sock")).unwrap();
    let open = |path: &std::path::Path| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    };
    open(&read.path().join("d.sock"));
    let fifo = read.path().join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    open(&fifo);
    // Both ends held on the host, so that a writer inside would not wait.
    let _host = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let mut spec = python(&format!(
        "import os, socket\n\
         s = socket.socket(socket.AF_UNIX)\n\
         try: s.connect('{r}/d.sock'); print('connected')\n\
         except OSError as e: print(type(e).__name__)\n\
         try: os.write(os.open('{r}/fifo', os.O_WRONLY | os.O_NONBLOCK), b'x'); print('written')\n\
         except OSError as e: print(os.strerror(e.errno))\n\
         print(open('{r}/data').read())",
        r = read.path().display()
    ));
    std::fs::write(read.path().join("data"), "data").unwrap();
    spec.ro.push(Bind::same(read.path()));
    let text = run(spec).text;
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        matches!(
            lines[..],
            ["ConnectionRefusedError", "No such device or address" | "Permission denied", "data"]
        ),
        "{text}"
    );
}

#[test]
fn a_socket_is_no_file_to_be_read() {
    let read = folder();
    let socket = read.path().join("d.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut spec = sh("true");
    spec.ro.push(Bind::same(&socket));
    assert!(super::launcher().launch(spec).is_err());
}

#[test]
fn of_folders_beside_each_other_only_those_are_seen_that_were_named() {
    let parent = folder();
    std::fs::set_permissions(parent.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["bin", "lib", "private"] {
        std::fs::create_dir(parent.path().join(name)).unwrap();
        std::fs::write(parent.path().join(name).join("file"), format!("{name}\n")).unwrap();
    }
    std::fs::write(parent.path().join("secret"), "secret\n").unwrap();
    std::os::unix::fs::symlink("lib", parent.path().join("lib64")).unwrap();
    // By a link to a link, with what has it followed.
    std::os::unix::fs::symlink("lib64/", parent.path().join("lib32")).unwrap();
    std::os::unix::fs::symlink("../private", parent.path().join("lib/out")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(parent.path().join("lib/d.sock")).unwrap();
    std::fs::set_permissions(parent.path().join("lib/d.sock"), PermissionsExt::from_mode(0o777)).unwrap();
    let at = parent.path().display();
    let mut spec = python(&format!(
        "import os, socket\n\
         for name in ['bin', 'lib', 'lib64', 'lib32']: print(open(f'{at}/{{name}}/file').read(), end='')\n\
         print(sorted(os.listdir('{at}')), sorted(os.listdir('{at}/bin/..')))\n\
         print([os.path.exists(f'{at}/{{path}}') for path in ['secret', 'private', 'lib/out', 'bin/../secret']])\n\
         try: open('{at}/bin/new', 'w')\n\
         except OSError as e: print(os.strerror(e.errno))\n\
         s = socket.socket(socket.AF_UNIX)\n\
         try: s.connect('{at}/lib/d.sock'); print('connected')\n\
         except OSError as e: print(type(e).__name__)"
    ));
    spec.ro.extend(["bin", "lib", "lib64", "lib32"].map(|name| Bind::same(parent.path().join(name))));
    let text = run(spec).text;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "bin",
            "lib",
            "lib",
            "lib",
            "['bin', 'lib', 'lib32', 'lib64'] ['bin', 'lib', 'lib32', 'lib64']",
            "[False, False, False, False]",
            "Read-only file system",
            "ConnectionRefusedError"
        ],
        "{text}"
    );
}

#[test]
fn beside_each_other_a_mask_hides_and_what_is_mounted_is_seen() {
    let (parent, mask) = (folder(), folder());
    std::fs::set_permissions(parent.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(mask.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["one", "two", "three"] {
        std::fs::create_dir(parent.path().join(name)).unwrap();
        std::fs::write(parent.path().join(name).join(".env"), format!("{name}\n")).unwrap();
    }
    let (kind, mode) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::empty());
    rustix::fs::mknodat(rustix::fs::CWD, mask.path().join(".env"), kind, mode, 0).unwrap();
    // Another file system than the folder that it is mounted in.
    let mounted = tempfile::tempdir_in("/dev/shm").unwrap();
    std::fs::set_permissions(mounted.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(mounted.path().join("file"), "mounted\n").unwrap();
    let at = parent.path().display();
    let name = mounted.path().file_name().unwrap().to_str().unwrap();
    let mut spec = sh(&format!("cat {at}/*/.env; cat /shm-1/{name}/file /shm-2/{name}/file"));
    spec.ro.push(Bind { mask: Some(mask.path().to_owned()), ..Bind::same(parent.path().join("one")) });
    spec.ro.extend(["two", "three"].map(|name| Bind::same(parent.path().join(name))));
    spec.ro.extend(["/shm-1", "/shm-2"].map(|target| Bind::new("/dev/shm", target)));
    let text = run(spec).text;
    assert_eq!(text, "three\ntwo\nmounted\nmounted\n");
}

#[test]
fn what_a_mask_hides_stays_hidden_when_it_is_replaced() {
    let (read, mask) = (folder(), folder());
    std::fs::set_permissions(mask.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(read.path().join(".env"), "OLD").unwrap();
    std::fs::write(read.path().join("data"), "data").unwrap();
    let whiteout = mask.path().join(".env");
    let (kind, mode) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::empty());
    rustix::fs::mknodat(rustix::fs::CWD, &whiteout, kind, mode, 0).unwrap();
    let r = read.path().display();
    let mut spec = sh(&format!("echo ready; read line; cat {r}/.env; cat {r}/data; ls -A {r}"));
    let (inside, outside) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    spec.stdin = wflo_sandbox::Stdio::Fd(inside);
    spec.ro.push(Bind { mask: Some(mask.path().to_owned()), ..Bind::same(read.path()) });
    let (sandbox, mut output) = start(spec);
    super::read_until(&mut output, "ready\n");
    std::fs::write(read.path().join("new"), "ROTATED").unwrap();
    std::fs::rename(read.path().join("new"), read.path().join(".env")).unwrap();
    rustix::io::write(&outside, b"go\n").unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut output, &mut text).unwrap();
    sandbox.wait().unwrap();
    assert!(text.ends_with("datadata\n") && !text.contains("ROTATED") && !text.contains("OLD"), "{text}");
}

#[test]
fn mount_points_are_never_made_on_the_host() {
    let written = folder();
    let mut spec = sh("true");
    spec.rw.push(Bind::same(written.path()));
    spec.ro.push(Bind::new("/usr/share", written.path().join("inner")));
    assert!(super::launcher().launch(spec).is_err());
    assert_eq!(std::fs::read_dir(written.path()).unwrap().count(), 0);
}

#[test]
fn an_interpreter_in_a_home_folder_works() {
    // As root: one below /root, whose mode keeps everybody else out.
    let home = if is_root() { tempfile::tempdir_in("/root").unwrap() } else { folder() };
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let prefix = home.path().join("versions/3.11");
    std::fs::create_dir_all(prefix.join("bin")).unwrap();
    executable::copied("/bin/sh", prefix.join("bin/interpreter"));
    let mut spec =
        Spec::new([prefix.join("bin/interpreter").into_os_string(), "-c".into(), "echo $0; ls ..".into()]);
    spec.cwd = Some(prefix.clone());
    spec.ro.push(Bind::same(&prefix));
    let ran = run(spec);
    // Of the folders above it, only the way to it is shown.
    assert_eq!(ran.text, format!("{}\n3.11\n", prefix.join("bin/interpreter").display()));
}

#[test]
fn programs_find_what_they_need_of_etc_and_dev() {
    let ran = run(python(
        "import os, pwd, ssl, socket, tempfile, multiprocessing.shared_memory as m\n\
         print(pwd.getpwuid(os.getuid()).pw_name, os.path.expanduser('~'))\n\
         print(socket.gethostbyname('localhost'), len(os.urandom(4)), open('/dev/zero','rb').read(2))\n\
         s = m.SharedMemory(create=True, size=10); s.close(); s.unlink()\n\
         os.pipe(); print(open('/dev/full','w').write('x') if False else 'ok')",
    ));
    assert_eq!(ran.text, "wflo /home/wflo\n127.0.0.1 4 b'\\x00\\x00'\nok\n");
}

#[test]
fn a_workspace_may_have_many_layers() {
    let layers: Vec<_> = (0..60).map(|_| folder()).collect();
    for (index, layer) in layers.iter().enumerate() {
        std::fs::write(layer.path().join(format!("f{index}")), "").unwrap();
        std::fs::write(layer.path().join("top"), index.to_string()).unwrap();
    }
    let mut spec = sh("ls f* | wc -l; cat top");
    let lowers = layers.iter().map(|layer| layer.path().into()).collect();
    spec.workspace = Some(View { lowers, target: "/project".into() });
    assert_eq!(run(spec).text, "60\n0");
}

/// A root of its own that is this host's, with a `/nix`; the rest of the arguments is executed there.
const WITH_NIX: &str = "mount -t tmpfs none \"$1\"; mkdir \"$1/up\" \"$1/work\" \"$1/root\"
    mount -t overlay host -o \"lowerdir=/,upperdir=$1/up,workdir=$1/work\" \"$1/root\"; cd \"$1/root\"; shift
    mkdir -p nix/store/tool nix/var/log former; echo installed > nix/store/tool/file; echo private > nix/var/log/build
    for folder in proc dev sys tmp; do mount --rbind \"/$folder\" \"$folder\"; done
    mkdir reachable; cp \"$1\" reachable/tests; cp \"$2\" reachable/launcher; shift 2
    pivot_root . former; cd /; umount -l /former
    WFLO_TEST_LAUNCHER=/reachable/launcher exec /reachable/tests \"$@\"";

#[test]
fn of_a_package_store_only_what_is_installed_is_seen() {
    if !is_root() {
        return;
    }
    let place = folder();
    let ran = std::process::Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-ec", WITH_NIX, "sh"])
        .args([place.path(), &std::env::current_exe().unwrap(), &super::program()])
        .args(["--ignored", "--exact", "files::what_is_seen_of_nix"])
        .output()
        .expect("unshare (util-linux)");
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{text}\n{}", String::from_utf8_lossy(&ran.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "started by another test"]
fn what_is_seen_of_nix() {
    let ran = run(sh("ls -A /nix; cat /nix/store/tool/file; cat /nix/var/log/build 2>/dev/null"));
    assert_eq!(ran.text, "store\ninstalled\n");
}

#[test]
fn a_view_of_no_layer_begins_empty_and_takes_what_is_written() {
    let mut spec = sh("ls -A; mkdir a && echo kept > a/b && cat a/b && stat -c %a .");
    spec.workspace = Some(View { lowers: Vec::new(), target: "/home/somebody".into() });
    let ran = run(spec);
    assert_eq!(ran.text, "kept\n755\n", "{:?}", ran.exit);
}
