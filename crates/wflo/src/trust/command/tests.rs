use rustix::fs::Mode;

use super::*;

struct Project(#[expect(dead_code, reason = "it is there until it is dropped")] tempfile::TempDir, PathBuf);

fn project(files: &[(&str, &str)]) -> Project {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let project = Project(folder, root);
    files.iter().for_each(|(path, text)| project.write(path, text));
    project
}

impl Project {
    fn write(&self, path: &str, text: &str) {
        let path = self.1.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn runs(&self, words: &[&str]) -> Running {
        running(&owned(words), &self.1)
    }

    /// Whether a change of `path` is seen by whoever trusted the command.
    fn sees(&self, words: &[&str], path: &str) -> bool {
        let before = self.runs(words);
        let old = std::fs::read_to_string(self.1.join(path)).unwrap_or_default();
        self.write(path, &format!("{old}+"));
        self.runs(words) != before
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_change_of_what_runs_is_seen() {
    let files = [
        ("tools/key.py", "import helper"),
        ("tools/helper.py", "x"),
        ("tools/notes.txt", "x"),
        ("tools/sub/mod.py", "x"),
        ("big.bin", "x"),
    ];
    let project = project(&files);
    let command = ["python3", "tools/key.py"];
    assert!(project.sees(&command, "tools/key.py"));
    assert!(project.sees(&command, "tools/helper.py"), "it may be loaded");
    assert!(project.sees(&command, "tools/json.py"), "it would be loaded");
    assert!(!project.sees(&command, "tools/notes.txt"));
    assert!(!project.sees(&command, "src/main.py"));
    for module in ["tools.key", "tools"] {
        assert!(project.sees(&["python3", "-m", module], &format!("tools/{module}2.py")), "{module}");
    }
    assert!(project.sees(&["sh", "-c", "python3 -mtools.sub.mod"], "tools/sub/new.py"));
    assert!(project.sees(&["sh", "-c", "cd tools && python3 'key.py'"], "tools/helper.py"));
    assert!(project.sees(&["sh", "-c", "x=$(cat tools/notes.txt); echo $x"], "tools/notes.txt"));
    project.write("big.bin", &"x".repeat(3 << 20));
    assert!(project.sees(&["cat", "big.bin"], "big.bin"), "however large it is");
}

#[test]
fn what_a_script_in_the_projects_own_folder_loads_is_seen() {
    let files = [
        ("key.py", "import json"),
        ("key.sh", ". ./helper.sh"),
        ("key.js", "x"),
        ("key", "#!/usr/bin/env python3"),
    ];
    let project = project(&files);
    let command = ["python3", "key.py"];
    assert!(project.sees(&command, "json.py"), "it would be loaded");
    assert!(project.sees(&command, "re/__init__.py"), "so would this");
    assert!(project.sees(&command, "base64.cpython-312-x86_64-linux-gnu.so"));
    assert!(project.sees(&["./key"], "os.py"));
    assert!(project.sees(&["sh", "key.sh"], "helper.sh"));
    assert!(project.sees(&["node", "key.js"], "helper.mjs"));
    for (command, other) in
        [(command, "package.json"), (["sh", "key.sh"], "main.py"), (["node", "key.js"], "package-lock.json")]
    {
        assert!(!project.sees(&command, other), "{other} is not loaded by {command:?}");
    }
}

#[test]
fn what_a_module_or_a_text_of_python_loads_from_the_projects_folder_is_seen() {
    let project = project(&[("tools/key.py", "x"), ("key.py", "x")]);
    for command in [
        &["python3", "-m", "keyring", "get"][..],
        &["python3", "-c", "import keyring"],
        &["python3", "-W", "ignore", "-mPIL"],
        &["sh", "-c", "cat x | python3.12 -"],
    ] {
        assert!(project.sees(command, "json.py"), "{command:?}");
    }
    for command in [
        &["python3", "-I", "-m", "keyring", "get"][..],
        &["python3", "-Ic", "import keyring"],
        &["python3", "-P", "key.py"],
        &["python3", "tools/key.py"],
    ] {
        assert!(!project.sees(command, "json.py"), "{command:?}");
    }
}

#[test]
fn a_line_names_what_a_shell_makes_of_it() {
    let project = project(&[("tools/key.sh", "x"), ("key.sh", "x"), ("data.txt", "x")]);
    let root = project.1.display().to_string();
    for line in [
        "\"$PWD\"/tools/key.sh",
        "${PWD}/tools/key.sh",
        "$(pwd)/tools/key.sh",
        "~+/tools/key.sh",
        "sh to'ols'/key.sh",
        "sh -c '\"$PWD\"/tools/key.sh'",
    ] {
        assert!(project.sees(&["sh", "-c", line], "tools/key.sh"), "{line}");
        assert_eq!(project.runs(&["sh", "-c", line]).unreadable, None, "{line}");
    }
    let unreadable = |line: &str| project.runs(&["sh", "-c", line]).unreadable.is_some();
    for line in [
        "./t*/key.sh",
        "sh tools/*.sh",
        "sh k*.sh",
        "d=tools; $d/key.sh",
        "cd tools && sh $PWD/key.sh",
        "\"$(git rev-parse --show-toplevel)\"/tools/key.sh",
        "sh `dirname x`/key.sh",
        "t{ools,x}/key.sh",
        &format!("{}*/tools/key.sh", &root[..root.len() - 1]),
    ] {
        assert!(unreadable(line), "{line}");
    }
    for line in [
        "cat ~/.secrets/key",
        "cat \"$HOME\"/.secrets/key | tr -d '\n'",
        "op read op://vault/item/key --account $ACCOUNT",
        "v=x; op read \"op://$v/item/key\"",
        "curl -s https://vault.example/v1/$ITEM | jq -r '.data.keys[0]'",
        "security find-generic-password -a \"$USER\" -w | sed 's/.*=//' | sed \"s/^$X//\"",
        "grep -o '[^/]*$' /etc/key && awk -F/ '{print $2}' /run/user/$N/key",
        "x=$(cat data.txt); echo \"$x-$x\" $x",
        "jq .[0] /etc/x.json",
    ] {
        assert!(!unreadable(line), "{line}: {:?}", project.runs(&["sh", "-c", line]).unreadable);
    }
    assert!(project.sees(&["python3", "-c", "x('\"$PWD\"/tools/key.sh')"], "tools/key.sh"));
}

#[test]
fn what_python_would_believe_unasked_is_seen_and_what_it_compiled_itself_is_not() {
    let project = project(&[("tools/key.py", "import helper"), ("tools/helper.py", "x")]);
    let command = ["python3", "tools/key.py"];
    let before = project.runs(&command);
    project.write("tools/__pycache__/helper.cpython-312.pyc", "\u{1}\u{1}\r\n\0\0\0\0time and size");
    assert_eq!(project.runs(&command), before);
    project.write("tools/__pycache__/helper.cpython-312.pyc", "\u{1}\u{1}\r\n\u{1}\0\0\0hash");
    assert_ne!(project.runs(&command), before);
}

#[test]
fn what_cannot_be_read_is_said() {
    let project = project(&[("tools/key.py", "x")]);
    assert_eq!(project.runs(&["python3", "tools/key.py"]).unreadable, None);
    assert_eq!(project.runs(&["op", "read", "op://vault/item/key", "--no-newline"]), Running::default());
    let pipe = project.1.join("tools/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    let why = project.runs(&["sh", "tools/pipe"]).unreadable.unwrap();
    assert!(why.starts_with("tools/pipe: "), "{why}");
    std::os::unix::fs::symlink("/bin/sh", project.1.join("tools/sh")).unwrap();
    let linked = project.runs(&["tools/sh"]);
    assert!(linked.files["tools/sh"].starts_with("-> "), "{linked:?}");
}

#[test]
fn what_a_command_runs_is_guarded_there_or_not() {
    let project = project(&[("tools/key.py", "x"), ("key.txt", "x"), ("lib/real.sh", "x")]);
    std::os::unix::fs::symlink("../lib/real.sh", project.1.join("tools/link.sh")).unwrap();
    let of = |words: &[&str]| -> Vec<String> {
        guarded(&owned(words), &project.1).iter().map(ToString::to_string).collect()
    };
    assert_eq!(of(&["python3", "tools/key.py"]), ["tools", "tools/key.py"]);
    assert_eq!(of(&["cat", "key.txt"]), ["key.txt"], "what is read loads nothing");
    assert_eq!(of(&["python3", "-m", "pkg.key"]), ["pkg", "pkg.key", "pkg.py"]);
    assert_eq!(of(&["tools/link.sh"]), ["lib", "lib/real.sh", "tools", "tools/link.sh"]);
    assert_eq!(of(&["./new.sh", "."]), ["new.sh"], "never the whole project");
    assert!(of(&["sh", "/etc/x", "../y", "-c"]).is_empty());
}

#[test]
fn however_many_files_run_what_is_recorded_of_them_is_short() {
    let project = project(&[]);
    let command = ["python3", "-m", "pkg.key"];
    assert_eq!(project.runs(&command).digest(), None);
    for n in 0..300 {
        project.write(&format!("pkg/m{n}.py"), "x");
    }
    let before = project.runs(&command);
    let digest = before.digest().unwrap();
    assert!(digest.to_string().len() <= 64 && before.files.len() == 300);
    project.write("pkg/m7.py", "y");
    assert_ne!(project.runs(&command).digest(), Some(digest));
}

#[test]
fn a_line_and_words_are_never_the_same() {
    let line = Written::Line("a b".to_owned());
    for words in [&["a b"][..], &["a", "b"], &["sh", "-c", "a b"]] {
        assert_ne!(Written::Words(owned(words)).json(), line.json());
    }
    assert_ne!(Written::Words(owned(&["a b"])).json(), Written::Words(owned(&["a", "b"])).json());
}
