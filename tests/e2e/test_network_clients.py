"""Clients of other makers at a host that is looked at: pip, git, Go and curl trust the sandbox's authority and are none the wiser."""

import base64
import http.server
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import Project
from test_network import HOST, Server
from test_network_inspect import VALUE, outputs

MODULE = "example.org/made"


class Files(Server):
    """A folder over TLS, for whoever has the password."""

    def __init__(self, tls: Path, folder: Path) -> None:
        super().__init__(tls)
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __init__(self, *arguments: object) -> None:
                super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

            def do_GET(self) -> None:
                outer.seen.append(self.path)
                known = {f"Bearer {VALUE}", "Basic " + base64.b64encode(f"me:{VALUE}".encode()).decode()}
                if self.headers.get("Authorization") in known:
                    return super().do_GET()
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="files"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return None

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server.RequestHandlerClass = Handler


@pytest.fixture
def files(tmp_path: Path, authority: Path) -> Iterator[Files]:
    folder = tmp_path / "served"
    (folder / "simple/made").mkdir(parents=True)
    wheel(folder / "simple/made/made-1.0-py3-none-any.whl")
    repository(tmp_path / "source", folder / "made.git")
    module(folder / "go")
    made = Files(authority / "host.pem", folder)
    yield made
    made.server.shutdown()
    made.server.server_close()


def wheel(path: Path) -> None:
    about = "made-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("made.py", "WHAT = 'of the index'\n")
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: made\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", f"made.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")


def repository(source: Path, bare: Path) -> None:
    def git(*words: object) -> None:
        named = ["-c", "user.name=made", "-c", "user.email=made@example.org"]
        # Not as whoever runs the tests has set it: they may sign their commits, or have hooks.
        own = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        subprocess.run(["git", *named, *map(str, words)], check=True, capture_output=True, env=own)

    git("init", "-q", "-b", "main", source)
    (source / "file.txt").write_text("of the repository\n")
    git("-C", source, "add", ".")
    git("-C", source, "commit", "-q", "-m", "one")
    git("clone", "-q", "--bare", source, bare)
    # For clients of a server that knows nothing of git.
    git("-C", bare, "update-server-info")


def module(folder: Path) -> None:
    versions = folder / MODULE / "@v"
    versions.mkdir(parents=True)
    about = f"module {MODULE}\n"
    (versions / "list").write_text("v1.0.0\n")
    (versions / "v1.0.0.info").write_text('{"Version": "v1.0.0"}')
    (versions / "v1.0.0.mod").write_text(about)
    with zipfile.ZipFile(versions / "v1.0.0.zip", "w") as archive:
        archive.writestr(f"{MODULE}@v1.0.0/go.mod", about)
        archive.writestr(f"{MODULE}@v1.0.0/made.go", 'package made\n\nconst What = "of the proxy"\n')


def named(project: Project, at: str, folder: Path) -> str:
    """The host by a name, which wflo alone knows: Go takes no proxy towards an address of the loopback."""
    if os.getuid() != 0:
        pytest.skip("only root gives a name to an address of the loopback")
    (folder / "hosts").write_text(f"{HOST} host.test\n")
    script = f'mount --bind {folder / "hosts"} /etc/hosts && exec {project.wflo} "$@"'
    wrapped = folder / "wflo"
    wrapped.write_text(f"#!/bin/sh\nexec unshare -m sh -c '{script}' wflo \"$@\"\n")
    wrapped.chmod(0o755)
    project.wflo = wrapped
    return at.replace(HOST, "host.test")


CLIENTS = {
    "curl": ("curl -sSf -u me:$TOKEN https://$AT/made.git/HEAD", "ref: refs/heads/main"),
    "pip": (
        "$CLIENT -m pip install -q --disable-pip-version-check --no-cache-dir --target got --index-url https://me:$TOKEN@$AT/simple made"
        " && cat got/made.py",
        "WHAT = 'of the index'",
    ),
    "git": (
        'git -c http.extraHeader="Authorization: Bearer $TOKEN" clone -q https://$AT/made.git got && cat got/file.txt',
        "of the repository",
    ),
    "go": (
        "mkdir got && cd got && $CLIENT mod init got && GOFLAGS=-mod=mod GOSUMDB=off GOPROXY=https://me:$TOKEN@$AT/go"
        f" $CLIENT get {MODULE}@v1.0.0 && cat ~/go/pkg/mod/{MODULE}@v1.0.0/made.go",
        "of the proxy",
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_works_and_never_holds_the_password(
    client: str, project: Project, authority: Path, files: Files
) -> None:
    command, wanted = CLIENTS[client]
    program = sys.executable if client == "pip" else shutil.which(client)
    if program is None:
        pytest.skip(f"there is no {client} here")
    at = files.at
    if client == "go":
        at = named(project, files.at, project.folder.parent)
    project.environment["REAL_TOKEN"] = VALUE
    project.write_settings(f"""
        [sandbox]
        allow_hosts = ["https://{at}"]
        allow_addresses = ["{HOST}/32"]
        ca_file = "{authority / "ca.pem"}"

        [secrets.files]
        env = "TOKEN"
        value_env = "REAL_TOKEN"
        hosts = ["{at}"]
        headers = ["authorization"]
    """)
    project.steps("""
        import subprocess

        @workflow.step
        def fetch(context):
            env = os.environ | {"AT": context.inputs["at"], "CLIENT": context.inputs["client"]}
            done = subprocess.run(["sh", "-c", context.inputs["command"]], capture_output=True, text=True, env=env)
            return [done.returncode, done.stdout, done.stderr, os.environ["TOKEN"]]
    """)
    inputs = (f"at={at}", f"client={program}", f"command={command}")
    done = project.run(*(word for each in inputs for word in ("--input", each)))
    code, said, errors, token = outputs(done)
    assert code == 0 and wanted in said, (said, errors, files.seen)
    assert VALUE not in done.out + done.err + said + errors and token.startswith("wflo-")
    # Each request, on however many connections, was looked at and had the secret in it.
    opened = done.of("egress.opened")
    assert len(opened) >= 1 and all(event["way"] == "https" for event in opened), opened
    assert any(event["secrets"] == ["files"] for event in opened)
