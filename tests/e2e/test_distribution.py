"""Programs of the machine's distribution that a project names: fetched once, in a sandbox, and seen by every step."""

import json
import shutil
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import Project, wait_for
from repository import Machine, Repository, architecture, entry

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from node import node

WORKFLOW = """
import os, shutil, subprocess
from wflo import Workflow

workflow = Workflow("programs")

@workflow.step()
async def hello(context):
    said = subprocess.run(["wflo-hello"], capture_output=True, text=True, check=True).stdout
    return {"said": said.strip(), "at": shutil.which("wflo-hello")}
"""
HELLO = "#!/bin/sh\necho hello $(cat /usr/share/wflo-words/word)\n"
# Outside of every folder of the tests, where nothing of a package may come. Each process of the tests knows it by this
# name, since it is in the names of tests.
MARK = Path("/tmp/wflo-apt-mark")


@pytest.fixture(autouse=True)
def _no_mark() -> None:
    """What an earlier, broken build may have left."""
    MARK.unlink(missing_ok=True)


@pytest.fixture
def repository() -> Iterator[Repository]:
    made = Repository()
    made.add("wflo-hello", "1.0", {"usr/bin/wflo-hello": HELLO}, Depends="wflo-words (>= 2)")
    made.add("wflo-words", "2.1", {"usr/share/wflo-words/word": "you\n"}, Architecture="all")
    yield made
    made.close()


@pytest.fixture
def machine(tmp_path: Path, wflo: Path, repository: Repository) -> Machine:
    return Machine(tmp_path, wflo, repository)


@pytest.fixture
def asking(project: Project, machine: Machine) -> Project:
    """A project whose step starts a program that the machine does not have."""
    project.environment["XDG_STATE_HOME"] = str(project.folder.parent / "state")
    project.wflo = machine.wflo
    project.write("workflow.py", WORKFLOW)
    wants(project, "wflo-hello")
    return project


def wants(project: Project, *packages: str, more: str = "") -> None:
    base = project.settings.split("\n[sandbox]")[0]
    project.settings = base + f"\n[sandbox]\npackages = {json.dumps(packages)}\n{more}"
    project.write_settings()


def images(project: Project) -> list[dict]:
    return project.call("sandbox", "images", "list", "--json").events


def tree(project: Project) -> Path:
    """What the newest image holds, on this machine."""
    state = Path(project.environment["XDG_STATE_HOME"])
    return next(state.glob(f"wflo/*/images/trees/{images(project)[0]['tree']}/tree"))


def refused(project: Project, code: str, *words: str) -> str:
    done = project.call("sandbox", "images", "build")
    assert done.code == 1 and code in done.err, done
    assert all(word in done.err for word in words), done
    assert images(project) == []
    return done.err


def test_a_step_has_the_programs_and_they_are_fetched_once(asking: Project, repository: Repository) -> None:
    first = asking.run()
    assert first.run["status"] == "completed", first
    assert first.run["outputs"]["hello"] == {"said": "hello you", "at": "/usr/bin/wflo-hello"}, first
    notices = [event["message"] for event in first.of("run.notice") if "programs" in event["message"]]
    assert notices and "wflo-hello=1.0, wflo-words=2.1" in notices[0], first.events
    (image,) = images(asking)
    assert image["kind"] == "system" and image["current"] and image["packages"] == ["wflo-hello=1.0", "wflo-words=2.1"]
    assert [len(file["sha256"]) for file in image["files"]] == [64, 64], image
    asked = len(repository.asked)
    assert asking.run("--no-build").run["status"] == "completed"
    done = asking.call("run", "--", "wflo-hello")
    assert (done.code, done.out) == (0, "hello you\n"), done
    done = asking.call("run", "--", "sh", "-c", "wflo-hello; cat /etc/passwd")
    assert done.out.startswith("hello you\n") and "wflo:x:" in done.out, done
    assert len(repository.asked) == asked, "what is there needs no repository"


def test_what_the_machine_has_is_not_fetched(asking: Project, repository: Repository) -> None:
    wants(asking, "dpkg", "coreutils")
    assert asking.call("sandbox", "images", "build").code == 0
    (image,) = images(asking)
    assert image["packages"] == [] and repository.asked == [], image
    assert asking.call("run", "--", "sh", "-c", "dpkg-deb --version >/dev/null").code == 0


def test_the_same_versions_are_the_same_files(asking: Project) -> None:
    assert asking.call("sandbox", "images", "build").code == 0
    (first,) = images(asking)
    asking.call("sandbox", "images", "prune", "--all")
    assert images(asking) == []
    # What was found is written as what is asked for is.
    wants(asking, *first["packages"])
    assert asking.call("sandbox", "images", "build").code == 0
    (second,) = images(asking)
    assert (first["tree"], first["files"]) == (second["tree"], second["files"])
    assert first["key"] != second["key"]


def test_a_run_that_waits_keeps_the_programs_that_were_approved(asking: Project, repository: Repository) -> None:
    asking.write("workflow.py", WORKFLOW.replace("@workflow.step()", "@workflow.step(approval_required=True)"))
    first, second = asking.run("--no-wait"), asking.run("--no-wait")
    assert first.run["status"] == second.run["status"] == "waiting", first
    old = tree(asking)
    repository.add("wflo-words", "2.2", {"usr/share/wflo-words/word": "swapped\n"}, Architecture="all")
    assert asking.call("sandbox", "images", "build", "--again").out == "wflo-hello=1.0\nwflo-words=2.2\n"
    asking.call("sandbox", "images", "prune", "--all")
    asked = {a["run_id"]: a["id"] for a in asking.call("approvals", "list", "--json").events}
    assert asking.call("approvals", "approve", asked[first.run["id"]]).code == 0
    assert asking.show(first.run["id"])["outputs"]["hello"]["said"] == "hello you"
    # What is gone is not replaced by anything else.
    shutil.rmtree(old.parent)
    done = asking.call("approvals", "approve", asked[second.run["id"]])
    assert "WFLO-5334" in done.out + done.err, done
    assert "swapped" not in json.dumps(asking.show(second.run["id"]))


def test_nothing_is_fetched_for_a_project_that_nobody_trusts(asking: Project, repository: Repository) -> None:
    del asking.environment["WFLO_TRUST"]
    for verb in (["run"], ["run", "--", "wflo-hello"], ["sandbox", "images", "build"], ["costs", "estimate"]):
        done = asking.call(*verb)
        assert done.code == 2 and "WFLO-8016" in done.err and "sandbox.packages" in done.err, done
    assert not repository.asked


def test_what_is_not_there_may_be_refused_and_so_may_a_backend(asking: Project, repository: Repository) -> None:
    done = asking.call("run", "--no-build")
    assert done.code == 1 and "WFLO-5328" in done.err, done
    for backend in ("none", "docker", "e2b"):
        done = asking.call("run", "--sandbox", backend)
        assert done.code == 2 and "WFLO-5336" in done.err, done
    wants(asking, "--allow-unauthenticated")
    assert "WFLO-8004" in asking.call("run").err
    assert not repository.asked


def test_what_nobody_has_is_told_with_what_is_near(asking: Project, repository: Repository) -> None:
    wants(asking, "wflo-helo")
    refused(asking, "WFLO-5284", "did you mean wflo-hello?")
    wants(asking, "wflo-hello=2*")
    refused(asking, "WFLO-5284", "there is 1.0")
    repository.add("wflo-other", "1.0", {"usr/bin/x": "x"}, Architecture="s390x")
    wants(asking, "wflo-other")
    refused(asking, "WFLO-5284")


def test_what_the_machine_has_stays_what_it_is(asking: Project, repository: Repository) -> None:
    repository.add("dpkg", "99", {"usr/bin/dpkg-deb": "#!/bin/sh\necho hijacked\n"})
    repository.add("wflo-newer", "1.0", {"usr/bin/wflo-newer": "x"}, Depends="dpkg (>= 99)")
    repository.add("wflo-alone", "1.0", {"usr/bin/wflo-alone": "x"}, Conflicts="tar")
    repository.add("wflo-broken", "1.0", {"usr/bin/wflo-broken": "x"}, Depends="wflo-nobody")
    wants(asking, "wflo-newer")
    refused(asking, "WFLO-5285", "dpkg (", "by 99)")
    wants(asking, "dpkg=99")
    refused(asking, "WFLO-5285", "this machine has")
    wants(asking, "wflo-alone")
    refused(asking, "WFLO-528", "tar")
    wants(asking, "wflo-broken")
    refused(asking, "WFLO-5286")
    assert not [path for path in repository.asked if path.endswith(".deb")]


def test_only_what_is_signed_and_whole_is_taken(asking: Project, repository: Repository, machine: Machine) -> None:
    signed = repository.files["pool/wflo-hello_1.0.deb"]
    repository.files["pool/wflo-hello_1.0.deb"] = signed[:-1] + bytes([signed[-1] ^ 1])
    refused(asking, "WFLO-5287")
    repository.files["pool/wflo-hello_1.0.deb"] = signed
    repository.is_signed = False
    refused(asking, "WFLO-5287")
    repository.is_signed = True
    other = Repository()
    (machine.apt / "keyrings/tests.gpg").write_bytes(other.gpg("--export"))
    refused(asking, "WFLO-5287")
    other.close()
    (machine.apt / "keyrings/tests.gpg").write_bytes(repository.gpg("--export"))
    assert asking.call("sandbox", "images", "build").code == 0


def test_without_a_way_to_the_sources_it_says_so(asking: Project, repository: Repository, machine: Machine) -> None:
    repository.close()
    refused(asking, "WFLO-5287", f"{repository.at} cannot be connected to", "WFLO-5207")
    (machine.apt / "sources.list").write_text("")
    refused(asking, "WFLO-5289")
    repository.keys.mkdir(exist_ok=True)


def test_a_build_reaches_the_sources_and_has_no_password(
    asking: Project, repository: Repository, machine: Machine
) -> None:
    other = Repository()
    source = machine.source(repository)
    with_password = machine.source(other).replace("http://", "http://robot:hunter2@")
    (machine.apt / "sources.list").write_text(source + with_password)
    (machine.apt / "auth.conf").write_text(f"machine {HOST} login robot password hunter2\n")
    assert asking.call("sandbox", "images", "build", "-v").code == 0
    assert not other.asked, "what needs a password is left out"
    (machine.apt / "sources.list").write_text(with_password)
    done = asking.call("sandbox", "images", "build", "-v")
    assert "WFLO-5289" in done.err and "hunter2" not in done.err + done.out, done
    other.close()


HOST = "127.0.0.2"


def test_settings_and_scripts_of_others_are_not_run(
    asking: Project, repository: Repository, machine: Machine, tmp_path: Path
) -> None:
    marks = [tmp_path / "mark", asking.folder / "mark", MARK]
    marking = "; ".join(f"touch {mark}" for mark in marks)
    hooks = ("APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "DPkg::Pre-Invoke", "DPkg::Pre-Install-Pkgs")
    settings = "".join(f'{hook} {{ "{marking}; exit 7"; }};\n' for hook in hooks)
    (machine.apt / "apt.conf.d/99hooks").write_text(settings + 'Acquire::AllowInsecureRepositories "true";\n')
    (machine.apt / "apt.conf").write_text(settings)
    script = f"#!/bin/sh\n{marking}\ntouch /opt/wflo/system/ran\n"
    scripts = dict.fromkeys(("preinst", "postinst", "prerm", "postrm", "config", "triggers"), script)
    repository.add("wflo-hello", "1.0", {"usr/bin/wflo-hello": script}, scripts=scripts)
    done = asking.call("sandbox", "images", "build", "-v")
    assert done.code == 0, done
    assert not [mark for mark in marks if mark.exists()]
    assert not (tree(asking) / "ran").exists() and (tree(asking) / "usr/bin/wflo-hello").is_file()


LINK = {"type": tarfile.SYMTYPE}


def test_a_hostile_package_gets_nothing_but_its_own_files_in(
    asking: Project, repository: Repository, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    repository.add(
        "wflo-evil",
        "1.0",
        {
            "usr/bin/env": "#!/bin/sh\necho hijacked\n",
            "bin/sh": "#!/bin/sh\necho hijacked\n",
            "usr/bin/wflo-evil": "#!/bin/sh\necho evil\n",
            "etc/passwd": "root::0:0::/:/bin/sh\n",
            "etc/wflo-evil.conf": "conf\n",
            "opt/wflo/python/bin/python": "hijacked",
            "opt/evil/x": "opt\n",
        },
        more=[
            (entry("./usr/bin/wflo-root", mode=0o6755), b"#!/bin/sh\nid -u\n"),
            (entry("./usr/share/wflo-out", linkname=str(secret), **LINK), b""),
            (entry("./usr/share/wflo-up", linkname="../../../../../../../.." + str(secret), **LINK), b""),
            (entry("./usr/share/wflo-fifo", type=tarfile.FIFOTYPE), b""),
        ],
    )
    wants(asking, "wflo-evil")
    done = asking.call("sandbox", "images", "build")
    assert done.code == 0, done
    made = tree(asking)
    assert (made / "usr/bin/wflo-root").stat().st_mode & 0o7777 == 0o755
    assert not (made / "usr/share/wflo-fifo").exists() and not (made / "opt/wflo").exists()
    script = (
        "env echo mine; sh -c 'echo mine'; wflo-evil; cat /usr/share/wflo-out /usr/share/wflo-up; cat /etc/passwd; "
        "cat /etc/wflo-evil.conf; cat /opt/evil/x; ls /opt/wflo"
    )
    done = asking.call("run", "--", "sh", "-c", script)
    assert "hijacked" not in done.out + done.err and "SECRET" not in done.out and "root::" not in done.out, done
    assert done.out.startswith("mine\nmine\nevil\n") and "conf\nopt\n" in done.out, done


def test_what_would_act_in_the_machines_own_programs_is_left_out(asking: Project, repository: Repository) -> None:
    hijacked = "#!/bin/sh\necho hijacked\n"
    acting = {
        "etc/ld.so.preload": "/usr/lib/wflo-evil.so\n",
        "etc/profile.d/evil.sh": "echo hijacked\n",
        "etc/gitconfig": "[core]\n\thooksPath = /usr/share/evil\n",
        "usr/local/bin/env": hijacked,
        "usr/local/bin/wflo-own": hijacked,
        "usr/sbin/ls": hijacked,
        "usr/bin/update-passwd": hijacked,
        "usr/lib/python3/dist-packages/zz.pth": "import os; print('hijacked')\n",
        "usr/lib/python3.11/sitecustomize.py": "print('hijacked')\n",
        "usr/lib/python311.zip": "hijacked",
        "usr/lib/ssl/cert.pem": "hijacked",
        "etc/ssl/certs/evil.pem": "hijacked",
        f"usr/lib/{architecture()}-linux-gnu/glibc-hwcaps/x/libc.so.6": "hijacked",
    }
    repository.add(
        "wflo-evil", "1.0", {**acting, "usr/bin/wflo-evil": "#!/bin/sh\necho evil\n", "etc/wflo.conf": "conf\n"}
    )
    wants(asking, "wflo-evil")
    done = asking.call("sandbox", "images", "build")
    assert done.code == 0 and "Left out of them" in done.err, done
    (image,) = images(asking)
    made = tree(asking)
    kept = [path for path in acting if (made / path).exists() and "update-passwd" not in path]
    assert not kept, kept
    assert "etc/ld.so.preload" in image["left_out"] and "usr/local" in image["left_out"], image
    script = "ls / >/dev/null; env echo mine; wflo-evil; cat /etc/wflo.conf; test -x /usr/bin/python3 && /usr/bin/python3 -c 0"
    done = asking.call("run", "--", "sh", "-lc", script)
    assert done.out == "mine\nevil\nconf\n", done


def test_a_source_that_may_be_unsigned_is_left_out(asking: Project, repository: Repository, machine: Machine) -> None:
    repository.is_signed = False
    for option in ("trusted=yes", "allow-insecure=yes"):
        (machine.apt / "sources.list").write_text(f"deb [{option}] {repository.url} tests main\n")
        refused(asking, "WFLO-5289", "it may be unsigned")
    assert not repository.asked


def test_a_link_of_a_package_leads_what_is_unpacked_nowhere(
    asking: Project, repository: Repository, tmp_path: Path
) -> None:
    links = [("/etc", "shadow"), (str(tmp_path), "mark"), ("../../../../tmp", MARK.name)]
    for number, (target, name) in enumerate(links):
        link = f"./usr/share/wflo-{number}"
        more = [(entry(link, linkname=target, **LINK), b""), (entry(f"{link}/{name}"), b"hijacked")]
        repository.add(f"wflo-link-{number}", "1.0", {"usr/bin/wflo-x": "x"}, more=more)
        wants(asking, f"wflo-link-{number}")
        done = asking.call("sandbox", "images", "build")
        assert done.code == 0 or "WFLO-5288" in done.err, done
        for image in images(asking):
            kept = next(Path(asking.environment["XDG_STATE_HOME"]).glob(f"wflo/*/images/trees/{image['tree']}/tree"))
            assert not [file for file in kept.rglob("*") if file.name in ("shadow", "mark", MARK.name)]
    assert not (tmp_path / "mark").exists() and not MARK.exists()


@pytest.mark.parametrize(
    "member",
    [
        entry("./dev/wflo-disk", type=tarfile.BLKTYPE, devmajor=8, devminor=0),
        entry("./usr/share/wflo-null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        entry("./usr/share/wflo-whiteout", type=tarfile.CHRTYPE, devmajor=0, devminor=0),
        entry("./usr/share/../../../../mark"),
        entry(f"../../../../../..{MARK}"),
    ],
    ids=lambda member: member.name.rsplit("/", 1)[-1],
)
def test_what_no_image_may_hold_is_refused(asking: Project, repository: Repository, member: tarfile.TarInfo) -> None:
    repository.add("wflo-evil", "1.0", {"usr/bin/wflo-evil": "x"}, more=[(member, b"")])
    wants(asking, "wflo-evil")
    refused(asking, "WFLO-5288", "wflo-evil=1.0")
    assert not MARK.exists()


def test_links_that_a_script_would_install_are_there(asking: Project, repository: Repository) -> None:
    script = (
        "#!/bin/sh\nset -e\nupdate-alternatives --install /usr/bin/wflo-pick \\\n"
        "   wflo-pick /usr/bin/wflo-pick-{0} {1} \\\n   --slave /usr/share/wflo-pick.txt wflo-pick.txt /usr/share/wflo-pick-{0}.txt\n"
    )
    for name, priority in (("low", 10), ("high", 200)):
        files = {f"usr/bin/wflo-pick-{name}": f"#!/bin/sh\necho {name}\n", f"usr/share/wflo-pick-{name}.txt": name}
        repository.add(f"wflo-{name}", "1.0", files, scripts={"postinst": script.format(name, priority)})
    outside = "update-alternatives --install /usr/bin/../../opt/wflo-x x /usr/bin/wflo-pick-low 9\n"
    own = "update-alternatives --install /usr/bin/env env /usr/bin/wflo-pick-low 9\n"
    ran = "update-alternatives --install /usr/bin/$(touch /opt/wflo/system/ran) x /usr/bin/wflo-pick-low 9\n"
    repository.add("wflo-odd", "1.0", {"usr/share/wflo-odd": "x"}, scripts={"postinst": outside + own + ran})
    many = (
        "if true; then\n  for name in one two; do\n    update-alternatives --install /usr/bin/wflo-$name \\\n      x "
    )
    many += "/usr/bin/wflo-${name}.bin 5 --slave /usr/bin/wflo-$name-s y /usr/bin/wflo-$name.bin\n  done\nfi\n"
    files = {f"usr/bin/wflo-{name}.bin": f"#!/bin/sh\necho {name}\n" for name in ("one", "two")}
    repository.add("wflo-many", "1.0", files, scripts={"postinst": many})
    wants(asking, "wflo-low", "wflo-high", "wflo-odd", "wflo-many")
    assert asking.call("sandbox", "images", "build").code == 0
    made = tree(asking)
    assert not (made / "ran").exists() and not (made / "opt").exists() and not (made / "usr/bin/env").is_symlink()
    script = "wflo-pick; cat /usr/share/wflo-pick.txt; env echo own; wflo-one; wflo-two-s"
    done = asking.call("run", "--", "sh", "-c", script)
    assert done.out == "high\nhighown\none\ntwo\n", done


def test_a_build_has_the_room_that_it_is_given(asking: Project, repository: Repository) -> None:
    repository.add("wflo-large", "1.0", more=[(entry("./usr/share/wflo-large"), bytes(40 << 20))])
    wants(asking, "wflo-large", more='build_disk_limit = "32m"\n')
    refused(asking, "WFLO-5332", "build_disk_limit")
    wants(asking, "wflo-large", more='build_disk_limit = "256m"\n')
    assert asking.call("sandbox", "images", "build").code == 0


def test_where_something_is_mounted_in_the_toolchain_both_are_seen(
    asking: Project, machine: Machine, wflo: Path, tmp_path: Path
) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "wflo-beside").write_text("beside\n")
    machine.mounted(wflo, f"mount --bind {beside} /usr/local/share")
    done = asking.call("run", "--", "sh", "-c", "wflo-hello; cat /usr/local/share/wflo-beside; ls /usr/local")
    assert done.code == 0 and done.out.startswith("hello you\nbeside\n"), done


def test_a_new_folder_where_something_is_mounted_is_refused(
    asking: Project, repository: Repository, machine: Machine, wflo: Path, tmp_path: Path
) -> None:
    (tmp_path / "beside").mkdir()
    machine.mounted(wflo, f"mount --bind {tmp_path / 'beside'} /usr/share/doc")
    done = asking.call("run", "--", "wflo-hello")
    assert done.code != 0 and "another file system is mounted" in done.out + done.err, done


def test_programs_and_python_packages_are_there_together(asking: Project, repository: Repository) -> None:
    from index import Index

    index = Index()
    index.add("greeting", "1.0", {"greeting.py": "def hello(): return 'hello'\n"})
    wants(asking, "wflo-hello", more=f'requirements = ["greeting"]\nindex_url = "{index.url}"\n')
    asking.write(
        "agent.py", "import greeting, subprocess\nprint(greeting.hello(), flush=True)\nsubprocess.run(['wflo-hello'])\n"
    )
    done = asking.call("run", "--", "python", "agent.py")
    assert (done.code, done.out) == (0, "hello\nhello you\n"), done
    assert sorted(image["kind"] for image in images(asking)) == ["python", "system"]
    asking.call("sandbox", "images", "prune")
    assert len(images(asking)) == 2, "both are asked for"
    index.close()


def test_a_workflow_in_javascript_has_the_programs_and_its_own_packages(asking: Project) -> None:
    asking.environment["WFLO_NODE"] = str(node())
    asking.write(
        "workflow.mjs",
        'import { Workflow } from "wflo";\nexport const workflow = new Workflow("e2e");\n'
        'workflow.step(async function hello({ tools }) { return (await tools.run(["wflo-hello"])).stdout; });\n',
    )
    # There is no such index, and nobody asks for it.
    wants(asking, "wflo-hello", more='requirements = ["nothing"]\nindex_url = "http://127.0.0.1:1/simple"\n')
    done = asking.run("workflow.mjs")
    assert done.run["status"] == "completed", done
    assert done.run["outputs"]["hello"] == "hello you\n", done
    assert [image["kind"] for image in images(asking)] == ["system"]


def test_two_at_once_do_one_work_and_a_killed_one_leaves_nothing(asking: Project, machine: Machine) -> None:
    go_on = threading.Event()
    slow = Repository(hold=go_on)
    slow.add("wflo-hello", "1.0", {"usr/bin/wflo-hello": "#!/bin/sh\necho hello\n"})
    (machine.apt / "keyrings/tests.gpg").write_bytes(slow.gpg("--export"))
    (machine.apt / "sources.list").write_text(machine.source(slow))
    build = [str(asking.wflo), "sandbox", "images", "build", "--json"]
    try:
        killed = asking.begin(*build)
        assert slow.begun.wait(60)
        killed.kill()
        killed.finish()
        assert images(asking) == []
        wait_for(lambda: not asking.processes(), "nothing of it is left")
        slow.begun.clear()
        first = asking.begin(*build)
        assert slow.begun.wait(60)
        second = asking.begin(*build)
        wait_for(lambda: "another wflo" in second.err, "the second waits for the first")
        go_on.set()
        assert [first.finish().events[0]["built"], second.finish().events[0]["built"]] == [True, False]
    finally:
        go_on.set()
        slow.close()


def test_a_crash_before_the_record_is_as_if_nothing_was_fetched(
    asking: Project, machine: Machine, with_failpoints: Path
) -> None:
    machine.mounted(with_failpoints)
    done = asking.call("sandbox", "images", "build", WFLO_FAILPOINT="image.record.before")
    assert done.code != 0 and images(asking) == [], done
    store = next(Path(asking.environment["XDG_STATE_HOME"]).glob("wflo/*/images"))
    assert list((store / "trees").iterdir())
    assert asking.call("sandbox", "images", "prune").code == 0
    assert not list((store / "trees").iterdir()) and not list((store / "made").iterdir())
    assert asking.run().run["status"] == "completed"
