//! The workspace goes in and its changes come out.

use super::everywhere;
use super::project::rel;
use std::fs;
use std::io::Read;
use wflo_sandbox::workspace::{Bounds, Digest, Kind};
use wflo_sandbox::{Sandbox, Spec};

#[test]
fn what_is_changed_is_what_comes_out() {
    everywhere(|world, _| {
        let root = world.project.path();
        fs::create_dir_all(root.join("deep/er")).unwrap();
        for (name, text) in [("kept", "k"), ("changed", "old"), ("removed", "r"), ("deep/er/file", "f")] {
            fs::write(root.join(name), text).unwrap();
        }
        fs::write(root.join(".env"), "SECRET").unwrap();
        std::os::unix::fs::symlink("kept", root.join("link")).unwrap();
        let view = world.project.view();
        let script = "
set -e
test \"$(cat kept)$(cat link)$(cat deep/er/file)\" = kkf
test ! -e .env
echo new > changed
rm removed
mkdir -p made/here; echo m > made/here/file; chmod 700 made/here/file
ln -s /etc/passwd out
mkfifo fifo
truncate -s 5000000000 sparse; echo end >> sparse; rm sparse
truncate -s 50000000 holes; printf x | dd of=holes bs=1 seek=40000000 conv=notrunc 2>/dev/null
rm -r deep; ln -s /etc deep
chmod 4755 changed
pwd
";
        let (sandbox, mut output) = world.start(Some(&view), Spec::new(["sh", "-c", script]));
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert!(sandbox.wait().unwrap().success(), "{text}");
        assert_eq!(text.trim(), root.display().to_string(), "it is at the project's own path");
        let captured = sandbox.changes(&Bounds::default()).unwrap().unwrap();
        let mut after = view.clone();
        after.layers.push(captured.layer);
        let found = after.contents().entries;
        let is = |name: &str, content: &[u8]| match found.get(&rel(name)).map(|entry| &entry.kind) {
            Some(Kind::File { size, hash }) => (*size, *hash) == (content.len() as u64, Digest::of(content)),
            _ => false,
        };
        for gone in ["removed", ".env", "fifo", "sparse", "deep/er/file"] {
            assert!(!found.contains_key(&rel(gone)), "{gone}: {found:?}");
        }
        assert!(is("kept", b"k") && is("changed", b"new\n") && is("made/here/file", b"m\n"), "{found:?}");
        assert!(
            matches!(found[&rel("deep")].kind, Kind::Symlink { .. }),
            "a link, and not what is behind it"
        );
        assert_eq!(found[&rel("changed")].mode & 0o7000, 0, "no setuid bit");
        assert_eq!(found[&rel("made/here/file")].mode, 0o700);
        let mut holes = vec![0; 50_000_000];
        holes[40_000_000] = b'x';
        assert!(is("holes", &holes));
        assert!(!root.join("made").exists(), "the project itself is untouched");
    });
}

#[test]
fn nothing_changed_is_no_layer_and_a_running_program_can_be_looked_at() {
    everywhere(|world, _| {
        fs::write(world.project.path().join("a"), "a").unwrap();
        let view = world.project.view();
        let (sandbox, _output) = world.start(Some(&view), Spec::new(["true"]));
        sandbox.wait().unwrap();
        assert!(sandbox.changes(&Bounds::default()).unwrap().is_none());
        drop(sandbox);

        let (sandbox, mut output) = world.start(
            Some(&view),
            Spec::new(["sh", "-c", "echo 1 > first; echo ready; while [ ! -e never ]; do sleep 0.05; done"]),
        );
        let mut ready = [0; 6];
        output.read_exact(&mut ready).unwrap();
        let live = sandbox.changes(&Bounds::default()).unwrap().unwrap();
        assert!(live.layer.manifest.entries.keys().any(|path| path.to_string() == "first"));
        sandbox.kill().unwrap();
        let last = sandbox.changes(&Bounds::default()).unwrap().unwrap();
        assert_eq!(last.layer.id, live.layer.id);
    });
}
