"""Sandboxes beside what else there is: one after the other, many at once, containers, and the work that is done inside."""

import http.client
import io
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import time
import urllib.parse
import zipfile
from functools import partial
from pathlib import Path

BWRAP = ["--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin"]
BWRAP += ["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"]
BWRAP += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--", "/bin/true"]
# How many sandboxes there are at once, and in all.
AT_ONCE, MANY = 16, 200


def sandbox(bench):
    floor_program = bench.target / "examples" / "floor"
    measures = {
        "floor": lambda: bench.p50(floor_program, 200),
        "bare": lambda: bench.spawn(200, "--", "/bin/true"),
        "wflo": lambda: bench.spawn(200),
        "limits": lambda: bench.spawn(200, "--limits"),
        "many": lambda: bench.spawn(MANY, "--at-once", AT_ONCE),
        "many_limits": lambda: bench.spawn(MANY, "--limits", "--at-once", AT_ONCE),
    }
    bwrap = shutil.which("bwrap")
    if bwrap:
        measures["bwrap"] = lambda: bench.spawn(200, "--", bwrap, *BWRAP)
        measures["many_bwrap"] = lambda: bench.spawn(MANY, "--at-once", AT_ONCE, "--", bwrap, *BWRAP)
    else:
        bench.skip("sandbox", "bwrap", "not installed (apt-get install bubblewrap)")
    runtimes, close = containers(bench, measures)
    before = left_over()
    try:
        taken = bench.in_turns(**measures)
    except subprocess.CalledProcessError as error:
        return bench.skip("sandbox", "create to exit", f"{error.cmd[0]} failed; see `wflo sandbox doctor`")
    finally:
        close()
    middle = {name: statistics.median(values) for name, values in taken.items()}
    row = partial(bench.row, "sandbox")
    row("/bin/true without a sandbox: p50", "us", taken["bare"])
    row("bare floor, the same namespaces: p50", "us", taken["floor"])
    row("wflo: p50", "us", taken["wflo"], "bare floor", middle["floor"], "<= 1.5 x, and below bwrap / 2")
    row("wflo, with limits (cgroups): p50", "us", taken["limits"], "bare floor", middle["floor"])
    if bwrap:
        row("bwrap: p50", "us", taken["bwrap"], "bare floor", middle["floor"])
        row("wflo beside bwrap: p50", "us", taken["wflo"], "bwrap", middle["bwrap"], "<= 0.5 x")
    for runtime, shown in runtimes.items():
        api = f"Docker API{shown}"
        row(f"{api}: p50", "us", taken[f"api{runtime}"], "bare floor", middle["floor"])
        row(f"wflo beside {api}: p50", "us", taken["wflo"], api, middle[f"api{runtime}"], "<= 0.025 x")
        row(f"wflo in Docker{shown}: p50", "us", taken[f"docker{runtime}"], api, middle[f"api{runtime}"])
    for name, shown in (("many", "wflo"), ("many_limits", "wflo, with limits")):
        peer = ("bwrap", middle["many_bwrap"]) if bwrap else (None, None)
        row(f"{shown}, {AT_ONCE} at once: p50", "us", taken[name], *peer)
    row(f"of {MANY * bench.rounds * 2} at once, left behind", "", [left_over() - before], wanted="0")
    return None


def left_over():
    """What sandboxes would leave of themselves: mounts, and groups of processes."""
    mounts = Path("/proc/self/mountinfo").read_text().count("\n")
    return mounts + sum(1 for _ in Path("/sys/fs/cgroup").rglob("wflo*")) if os.path.isdir("/sys/fs/cgroup") else mounts


def containers(bench, measures):
    """Adds containers of a Docker daemon of our own to what is measured; its runtimes, and what ends it."""
    script = Path(__file__).resolve().parent.parent / "scripts" / "test_dockerd.sh"
    if os.getuid() != 0 or not shutil.which("dockerd"):
        bench.skip(
            "sandbox", "containers", "a Docker daemon of our own needs root and dockerd (apt-get install docker.io)"
        )
        return {}, lambda: None
    daemon = subprocess.Popen([script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close():
        daemon.stdin.close()
        daemon.wait()

    host = daemon.stdout.readline().strip()
    if not host:
        close()
        bench.skip("sandbox", "containers", "the Docker daemon did not come up")
        return {}, lambda: None
    docker = Docker(urllib.parse.urlsplit(host).path)
    docker.take_image()
    runtimes = {"": ""}
    if shutil.which("runsc"):
        runtimes["runsc"] = ", gVisor"
    else:
        bench.skip("sandbox", "gVisor", "there is no runsc on the path")
    for runtime in runtimes:
        own = ["--docker", host, *(["--runtime", runtime] if runtime else [])]
        measures[f"api{runtime}"] = partial(docker.create_to_exit, 7, runtime)
        measures[f"docker{runtime}"] = partial(bench.spawn, 7, *own)
    return runtimes, close


class Docker:
    """A daemon's API, called as a client of it would: create, start, wait, remove."""

    IMAGE = "floor:here"

    def __init__(self, path):
        self.path = path

    def call(self, method, path, body=None, kind="application/json"):
        link = http.client.HTTPConnection("docker")
        link.sock = socket.socket(socket.AF_UNIX)
        link.sock.connect(self.path)
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        link.request(method, path, sent, {"content-type": kind, "connection": "close"})
        answer = link.getresponse()
        told = answer.read()
        link.close()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {told.decode()}")
        return (
            json.loads(told)
            if told.startswith(b"{") and method == "POST" and "create" in path and kind[-4:] == "json"
            else told
        )

    def take_image(self):
        """An image that holds `true` and what it needs."""
        archive = io.BytesIO()
        listed = subprocess.run(["ldd", "/bin/true"], stdout=subprocess.PIPE, text=True, check=True).stdout
        libraries = [word for word in listed.split() if word.startswith("/")]
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for path in ["/bin/true", *libraries]:
                tar.add(os.path.realpath(path), path.lstrip("/"))
        name, tag = self.IMAGE.split(":")
        self.call("POST", f"/images/create?fromSrc=-&repo={name}&tag={tag}", archive.getvalue(), "application/x-tar")

    def create_to_exit(self, count, runtime):
        """The p50 of as many, in microseconds."""
        host = {"NetworkMode": "none", "Runtime": runtime} if runtime else {"NetworkMode": "none"}
        times = []
        for _ in range(count):
            began = time.perf_counter()
            made = self.call(
                "POST", "/containers/create", {"Image": self.IMAGE, "Cmd": ["/bin/true"], "HostConfig": host}
            )["Id"]
            self.call("POST", f"/containers/{made}/start")
            self.call("POST", f"/containers/{made}/wait")
            times.append((time.perf_counter() - began) * 1e6)
            self.call("DELETE", f"/containers/{made}?force=1")
        return statistics.median(times)


TIMED = """\
# Runs a command as often as is said; prints the seconds that each took.
import json, shutil, subprocess, sys, time
count, remove, *command = sys.argv[1:]
taken = []
for _ in range(int(count)):
    if remove != "-":
        shutil.rmtree(remove, ignore_errors=True)
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    taken.append(time.perf_counter() - began)
print(json.dumps(taken))
"""
LOOP = "n = 0\nfor i in range(6_000_000):\n    n = (n * 31 + i) % 1_000_003\nprint(n)\n"


def tasks(bench, folder, python):
    """What is done: its name, how often it is timed, what is removed before each time, the command, what is wanted."""
    (folder / "loop.py").write_text(LOOP)
    yield "CPU-bound (a loop of Python)", 2, "-", [python, "loop.py"], ">= 0.99 x"
    if rustc := sysroot():
        (folder / "crate.rs").write_text("".join(map(function, range(700))))
        words = "--crate-type lib -C codegen-units=4 --out-dir built crate.rs"
        yield "compile of a crate (rustc)", 1, "built", [f"{rustc}/bin/rustc", *words.split()], ">= 0.93 x"
    else:
        bench.skip("work", "compile of a crate", "there is no rustc")
    words = "-m pip install --quiet --no-index --no-deps --disable-pip-version-check --root-user-action=ignore"
    words = [*words.split(), "--target", "installed", *wheels(folder)]
    yield "pip install of 20 wheels, 2,000 files", 1, "installed", [python, *words], ">= 0.93 x"
    tree(folder / "tree")
    words = "-c safe.directory=* -C tree status --porcelain"
    yield "git status, 20,000 files", 5, "-", ["git", *words.split()], ">= 0.93 x"


def sysroot():
    """Where the compiler of Rust is installed."""
    rustc = shutil.which("rustc")
    done = rustc and subprocess.run([rustc, "--print", "sysroot"], stdout=subprocess.PIPE, text=True, check=True)
    return done and done.stdout.strip()


def work(bench):
    """The same work in a folder and in a sandbox on a copy-on-write view of it, each timed from inside."""
    python = os.path.realpath(sys.executable)
    prefix = os.path.dirname(os.path.dirname(python))
    shown = [path for path in (prefix, sysroot()) if path and path != "/usr"]
    home = Path(tempfile.mkdtemp(prefix="bench-work-", dir=bench.dir))
    folder = home / "project"
    folder.mkdir()
    try:
        (folder / "timed.py").write_text(TIMED)
        ro = [word for path in shown for word in ("--ro", f"{path}:{path}")]
        inside = [bench.wflo, "sandbox", "exec", "--workspace", folder, "--preset", "build", *ro, "--"]

        def timed(count, words, within):
            done = [*within, python, "timed.py", str(count), *words]
            printed = subprocess.run(done, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout
            return statistics.median(json.loads(printed.splitlines()[-1])) * 1e6

        within = {"folder": [], "overlay": overlay(home, folder), "sandbox": inside}
        for what, count, remove, command, wanted in list(tasks(bench, folder, python)):
            words = [remove, *command]
            measures = {name: partial(timed, count, words, around) for name, around in within.items()}
            try:
                taken = bench.in_turns(**measures)
            except subprocess.CalledProcessError as error:
                bench.skip("work", what, f"exit {error.returncode}")
                continue
            # Speed is the reverse of time: that of the folder, divided by that of the sandbox.
            beside = ("in a sandbox", statistics.median(taken["sandbox"]))
            bench.row("work", f"{what}: in a sandbox", "us", taken["sandbox"])
            bench.row("work", f"{what}: in a folder", "us", taken["folder"], *beside, wanted)
            bench.row("work", f"{what}: on overlayfs alone", "us", taken["overlay"], *beside)
    finally:
        shutil.rmtree(home)


def overlay(place, folder):
    """The floor of every copy-on-write view: the kernel's overlay of the folder at its own path, and nothing else."""
    for name in ("upper", "work"):
        (place / name).mkdir()
    options = f"lowerdir={folder},upperdir={place}/upper,workdir={place}/work"
    script = f'mount -t overlay overlay -o {options} {folder} && cd {folder} && exec "$@"'
    return ["unshare", *([] if os.getuid() == 0 else ["-Ur"]), "-m", "sh", "-c", script, "sh"]


def function(n):
    return textwrap.dedent(f"""\
        pub fn f{n}(words: &[String]) -> std::collections::BTreeMap<usize, Vec<String>> {{
            let mut found = std::collections::BTreeMap::new();
            for word in words.iter().filter(|word| word.len() % {n + 2} == 1) {{
                found.entry(word.len()).or_insert_with(Vec::new).push(format!("{n} {{word}}"));
            }}
            found
        }}
        """)


def wheels(project):
    """Makes some; their paths in the project."""
    folder = project / "wheels"
    folder.mkdir()
    body = "".join(f"def f{n}(a, b=None):\n    return [a, b, {n}]\n\n\n" for n in range(40))
    for one in range(20):
        name, about = f"made{one}", f"made{one}-1.0.dist-info"
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
            files = {f"{name}/m{n}.py": body for n in range(100)} | {f"{name}/__init__.py": ""}
            files[f"{about}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
            files[f"{about}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            files[f"{about}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{about}/RECORD"])
            for path, text in files.items():
                wheel.writestr(path, text)
    return sorted(str(path.relative_to(project)) for path in folder.iterdir())


def tree(folder):
    for n in range(200):
        (folder / f"part{n}").mkdir(parents=True)
        for m in range(100):
            (folder / f"part{n}" / f"file{m}.txt").write_text(f"{n} {m}\n")
    git = [
        "git",
        "-C",
        folder,
        "-c",
        "user.name=bench",
        "-c",
        "user.email=bench@localhost",
        "-c",
        "init.defaultBranch=main",
    ]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], check=True)
