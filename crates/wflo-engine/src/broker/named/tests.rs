use super::*;

fn is_named(rule: &str, command: &str) -> bool {
    names(rule, &command.split(' ').map(str::to_owned).collect::<Vec<_>>())
}

fn of(argv: &[&str]) -> Vec<String> {
    argv.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_rule_names_whole_commands() {
    assert!(is_named("git push *", "git push origin main"));
    assert!(is_named("git push *", "git push"), "no further words are words, too");
    assert!(is_named("git push *", "/usr/bin/git push origin"), "a program counts by its name");
    assert!(is_named("terraform apply*", "terraform apply -auto-approve"));
    assert!(is_named("*push*", "sh -c git push"));
    assert!(is_named("* --force *", "git push --force x"));
    assert!(is_named("*", "anything at all") && is_named("make", "make"));
    for (rule, other) in [
        ("git push *", "git pull"),
        ("git push *", "git pushed"),
        ("git push *", "git log push"),
        ("git push *", "git -C dir log push"),
        ("git push *", "echo git push"),
        ("git push", "git push origin"),
        ("git push", "git -C x push origin"),
        ("terraform apply*", "terraform plan"),
        ("terraform apply*", "terraform -chdir=x plan"),
        ("a*b*c", "a c"),
        ("ab*ba", "aba"),
        ("rm *", "git rm x"),
        ("make", "make install"),
    ] {
        assert!(!is_named(rule, other), "{rule}: {other}");
    }
    assert!(!names("*", &[]));
}

#[test]
fn options_before_the_verb_hide_nothing() {
    for command in [
        "git -c x=y push",
        "git -C dir push origin",
        "git --git-dir=/x/.git --work-tree /x push",
        "git -c a=b -c c=d --no-pager push --force",
        "/usr/bin/git -P push",
        "/usr/lib/git-core/git-push origin",
    ] {
        assert!(is_named("git push *", command), "{command}");
    }
    assert!(is_named("terraform apply*", "terraform -chdir=infra apply -auto-approve"));
    assert!(is_named("aws s3 rm *", "aws --region eu s3 --profile p rm s3://x"));
    assert!(is_named("git push origin *", "git push --force origin main"));
    assert!(is_named("git push", "git -C dir push"));
    assert!(is_named("docker compose up *", "docker-compose up"));
}

#[test]
fn programs_that_start_another_hide_nothing() {
    for argv in [
        &["env", "A=b", "git", "push"][..],
        &["/usr/bin/env", "-i", "-u", "X", "A=b", "git", "-C", "d", "push"],
        &["nice", "-n", "19", "git", "push"],
        &["timeout", "--signal=KILL", "10", "/usr/bin/git", "push"],
        &["nohup", "sudo", "-u", "me", "git", "push"],
        &["sh", "-c", "git push"],
        &["bash", "-lc", "cd x && git -c a=b push origin; true"],
        &["sh", "-c", "A=b g\"it\" 'push'"],
        &["sh", "-c", "true\ngit push\n"],
        &["sh", "-c", "if make; then git push; fi"],
        &["sh", "-c", "echo $(git push)"],
        &["nice", "sh", "-c", "exec git push"],
        &["env", "-S", "git push"],
        &["xargs", "-n1", "git", "push"],
        &["busybox", "sh", "-c", "git push"],
        &["sh", "-c", "bash -c \"git push\""],
        &["find", ".", "-exec", "git", "push", ";"],
    ] {
        assert!(names("git push *", &of(argv)), "{argv:?}");
    }
    for argv in
        [&["sh", "-c", "git pull; make push"][..], &["env", "A=git push", "make"], &["nice", "make", "push"]]
    {
        assert!(!names("git push *", &of(argv)), "{argv:?}");
    }
}

#[test]
fn long_commands_are_judged_in_time() {
    let script = "echo a;".repeat(200_000);
    assert!(!names("git push *", &of(&["sh", "-c", &script])));
    let words: Vec<String> =
        std::iter::once("env".to_owned()).chain((0..200_000).map(|n| format!("git{n}"))).collect();
    assert!(!names("git push *", &words));
    let hostile: Vec<String> =
        std::iter::once("env".to_owned()).chain((0..200_000).map(|_| "git".to_owned())).collect();
    assert!(names("git push *", &hostile), "what cannot be judged is asked about");
}

#[test]
fn scripts_are_split_as_shells_do() {
    let push = "git push *";
    for (rule, script) in [
        (push, "git -C \"my dir\" push"),
        (push, "git -C my\\ dir push"),
        (push, "git -C $'it\\'s here' push"),
        (push, "git \\\n push origin"),
        (push, "gi\\\nt pu\"\\\nsh\""),
        ("aws s3 rm *", "aws s3 \\\n  rm s3://x"),
        (push, "git -C $(pwd) push"),
        (push, "git -C `pwd` push"),
        (push, "git -C \"$(dirname \"$(pwd)\")\" push"),
        (push, "git -C ${HOME}/x push"),
        (push, "git -C \"${HOME:-it's}/x y\" push"),
        (push, "git -c core.x=$((1 << 2)) push"),
        (push, "git -C (pwd) push"),
        (push, "git $OPTIONS push"),
        ("terraform apply*", "terraform -chdir=${DIR} apply"),
        ("terraform apply*", "terraform -chdir=\"$(pwd)\" apply"),
        ("npm publish *", "npm --prefix \"my app\" publish"),
        (push, "git -c user.name='A; B' push"),
        (push, "git >/dev/null push"),
        (push, "git 2>&1 push"),
        (push, "git >> \"a log\" 2>&- < in push"),
        (push, "git &> log push"),
        ("git push", "(git push) >log # now"),
        (push, "echo $(git -C 'a b' push)"),
        (push, "echo `git -C 'a b' push`"),
        (push, "echo \"$(git -C 'a b' push)\""),
        (push, "echo \"so: `git -C 'a b' push`\""),
        (push, "echo ${x:-$(git -C 'a b' push)}"),
        (push, "echo \"$(case $x in a) git -C \"a b\" push;; esac)\""),
        (push, "diff <(git -C 'a b' push) x"),
        (push, "{ git -C 'a b' push; }"),
        (push, "if true; then git -C 'a b' push; fi"),
        (push, "! git -C 'a b' push"),
        (push, "VAR='x y' git -C 'a b' push"),
        (push, "f() { git -C 'a b' push; }; f"),
        (push, "# it's so\ngit -C \"a b\" push"),
        (push, "cat >x <<'END'\nit's\nEND\ngit -C \"a b\" push"),
        (push, "git commit -m \"$(cat <<-END\n\tit's\n\tEND\n)\" && git -C \"a b\" push"),
        (push, "bash <<END\ngit -C 'a b' push\nEND\n"),
        (push, "bash <<< \"git -C 'a b' push\""),
        (push, "((a<<2))\ngit -C 'a b' push"),
        (push, "nice bash -c \"cd 'x y' && git -C 'a b' push\""),
        (push, "env -S\"git -C 'a b' push\""),
        (push, "git -C 'a b' push; echo 'unbalanced"),
        (push, "echo \"unbalanced; git push"),
    ] {
        assert!(names(rule, &of(&["bash", "-c", script])), "{script}");
    }
    for script in [
        "git -C \"my dir\" log push",
        "git -c user.name='A; push' log",
        "git \\\n pull; make push",
        "git log >push",
        "git pull # push",
        "git log $(make push)",
        "echo \"$(git log)\" push",
        "git status <<END\npush\nEND\n",
        "git commit -m \"push it, don't wait\"",
        "x=git; push",
    ] {
        assert!(!names(push, &of(&["bash", "-c", script])), "{script}");
    }
}

#[test]
fn an_option_can_hold_a_script() {
    for argv in [
        &["env", "-Sgit push"][..],
        &["env", "-iS", "git push"],
        &["env", "-Sgit", "push"],
        &["env", "-S/usr/bin/git -C 'a b' push"],
        &["env", "--split-string=git push"],
        &["su", "--command=git push"],
        &["script", "-qcgit push"],
        &["sh", "-c", "script -qc\"git push\""],
    ] {
        assert!(names("git push *", &of(argv)), "{argv:?}");
    }
    for argv in [&["env", "-Sgit log push"][..], &["env", "--unset=x", "push"], &["make", "-Cgit push"]] {
        assert!(!names("git push *", &of(argv)), "{argv:?}");
    }
}

#[test]
fn hostile_scripts_are_judged() {
    let is_named = |script: &str| names("git push *", &of(&["sh", "-c", script]));
    let many = |text: &str| text.repeat(1_000_000 / text.len());
    for text in ["'", "\"", "'\"", "\\'"] {
        assert!(!is_named(&many(text)), "{text}");
    }
    for text in ["$(", "(", "${", "\"${", "\"$(", "<(", "$((", "<<a\n"] {
        assert!(is_named(&many(text)), "what cannot be judged is asked about: {text}");
    }
    for text in ["'a b' ", "-aaaaaaaa' ' "] {
        assert!(is_named(&text.repeat(16_000)), "so is what has too many scripts within it: {text}");
    }
    assert!(!is_named(&format!("{}true{}", "$(".repeat(20), ")".repeat(20))));
}

#[test]
fn a_pattern_is_matched_as_it_is_read() {
    // Against the plain definition, over all short texts of two letters.
    fn slow(rule: &[u8], text: &[u8]) -> bool {
        match (rule, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| slow(rest, &text[skip..])),
            ([one, rule @ ..], [other, text @ ..]) if one == other => slow(rule, text),
            _ => false,
        }
    }
    let all = |letters: &[char]| {
        let mut all = vec![String::new()];
        for length in 0..5 {
            let longest: Vec<String> = all.iter().filter(|text| text.len() == length).cloned().collect();
            let longer = longest.iter().flat_map(|text| letters.iter().map(move |c| format!("{text}{c}")));
            all.extend(longer);
        }
        all
    };
    for rule in all(&['a', 'b', '*']) {
        for text in all(&['a', 'b']) {
            assert_eq!(fits(&rule, &text), slow(rule.as_bytes(), text.as_bytes()), "{rule} {text}");
        }
    }
}

#[test]
fn a_path_names_its_program_however_it_is_written() {
    for argv in [
        &["./deploy.sh"][..],
        &["/home/me/project/deploy.sh", "--now"],
        &["/home/me/project/./deploy.sh"],
        &["sh", "deploy.sh"],
        &["bash", "-x", "../project/deploy.sh", "now"],
    ] {
        assert!(names("./deploy.sh *", &of(argv)), "{argv:?}");
    }
    assert!(!names("./deploy.sh *", &of(&["./build.sh"])));
    assert!(!names("/opt/*", &of(&["/usr/bin/make"])), "any name is none");
    assert!(names("/opt/*", &of(&["/opt/tool", "now"])));
}
