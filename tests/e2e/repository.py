"""A signed repository of a distribution's packages on an address of this machine, of packages that the tests write
themselves, and a machine whose apt knows no other one."""

import gzip
import hashlib
import http.server
import io
import os
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import threading
from pathlib import Path

HOST = "127.0.0.2"


def entry(name: str, **about: object) -> tarfile.TarInfo:
    """A member of an archive, with these attributes."""
    made = tarfile.TarInfo(name)
    made.mode = 0o755
    for key, value in about.items():
        setattr(made, key, value)
    return made


def archive(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.GNU_FORMAT) as made:
        for member, content in members:
            member.size = len(content)
            made.addfile(member, io.BytesIO(content) if content else None)
    return gzip.compress(written.getvalue(), mtime=0)


def deb(control: str, members: list[tuple[tarfile.TarInfo, bytes]], scripts: dict[str, str]) -> bytes:
    """A package, whatever it is asked to hold."""
    about = [(entry("./control"), control.encode())]
    about += [(entry(f"./{name}"), text.encode()) for name, text in scripts.items()]
    parts = {"debian-binary": b"2.0\n", "control.tar.gz": archive(about), "data.tar.gz": archive(members)}
    made = b"!<arch>\n"
    for name, content in parts.items():
        made += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
        made += b"\n" * (len(content) % 2)
    return made


def architecture() -> str:
    return subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()


class Repository:
    """Serves packages, and remembers what it was asked."""

    def __init__(self, hold: threading.Event | None = None) -> None:
        for program in ("apt-get", "dpkg-deb", "gpg", "unshare"):
            assert shutil.which(program), f"{program} is missing: apt-get install apt dpkg gpg util-linux"
        self.keys = Path(tempfile.mkdtemp(prefix="wflo-gpg"))
        self.gpg("--quick-gen-key", "--passphrase", "", "tests", "default", "default", "never")
        self.files: dict[str, bytes] = {}
        self.about: dict[str, str] = {}
        self.asked: list[str] = []
        self.begun = threading.Event()
        self.is_signed = True
        repository = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                repository.asked.append(self.path)
                repository.begun.set()
                if hold:
                    hold.wait(600)
                body = repository.body(self.path)
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer((HOST, 0), Answer)
        self.at = f"{HOST}:{self.server.server_address[1]}"
        self.url = f"http://{self.at}/debian"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def gpg(self, *arguments: str, given: bytes = b"") -> bytes:
        command = ["gpg", "--batch", "--homedir", str(self.keys), "--pinentry-mode", "loopback", *arguments]
        return subprocess.run(command, check=True, input=given, capture_output=True).stdout

    def add(
        self,
        name: str,
        version: str = "1.0",
        files: dict[str, str] | None = None,
        more: list[tuple[tarfile.TarInfo, bytes]] | None = None,
        scripts: dict[str, str] | None = None,
        **fields: str,
    ) -> None:
        """Adds a package: of files with their text, and of members as they are. Its fields are in its index, too."""
        control = {
            "Package": name,
            "Version": version,
            "Architecture": architecture(),
            "Maintainer": "tests <tests@example.org>",
            "Description": "a package of the tests",
            **{key.replace("_", "-"): value for key, value in fields.items()},
        }
        text = "".join(f"{key}: {value}\n" for key, value in control.items())
        members = [(entry(f"./{path}"), content.encode()) for path, content in (files or {}).items()]
        content = deb(text, members + (more or []), scripts or {})
        file = f"pool/{name}_{version}.deb"
        self.files[file] = content
        sum = hashlib.sha256(content).hexdigest()
        self.about[file] = f"{text}Filename: {file}\nSize: {len(content)}\nSHA256: {sum}\n\n"

    def body(self, path: str) -> bytes | None:
        path = path.removeprefix("/debian/")
        packages = "".join(self.about.values()).encode()
        if path == "dists/tests/InRelease" and self.is_signed:
            place = f"main/binary-{architecture()}/Packages"
            release = (
                f"Origin: tests\nSuite: tests\nCodename: tests\nArchitectures: {architecture()}\nComponents: main\n"
            )
            release += f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n {hashlib.sha256(packages).hexdigest()} "
            release += f"{len(packages)} {place}\n"
            return self.gpg("--clearsign", given=release.encode())
        if path == f"dists/tests/main/binary-{architecture()}/Packages":
            return packages
        return self.files.get(path)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        subprocess.run(["gpgconf", "--homedir", str(self.keys), "--kill", "all"], check=False, capture_output=True)
        shutil.rmtree(self.keys, ignore_errors=True)


class Machine:
    """This machine, as wflo sees it in a mount namespace of its own: its apt has one repository."""

    def __init__(self, folder: Path, wflo: Path, repository: Repository) -> None:
        self.apt = folder / "apt"
        (self.apt / "keyrings").mkdir(parents=True)
        (self.apt / "sources.list.d").mkdir()
        (self.apt / "apt.conf.d").mkdir()
        (self.apt / "keyrings/tests.gpg").write_bytes(repository.gpg("--export"))
        (self.apt / "sources.list").write_text(self.source(repository))
        self.wflo = folder / "wflo"
        self.mounted(wflo)

    def source(self, repository: Repository) -> str:
        return f"deb [signed-by=/etc/apt/keyrings/tests.gpg] {repository.url} tests main\n"

    def mounted(self, wflo: Path, more: str = "true") -> None:
        """wflo where apt's folder is this one, and `more` was done."""
        lists = self.apt.parent / "lists"
        lists.mkdir(exist_ok=True)
        inner = f"mount --bind {self.apt} /etc/apt && mount --bind {lists} /var/lib/apt/lists && {more}"
        start = f'exec {shlex.quote(str(wflo))} "$@"'
        how = "-m"
        if os.geteuid() != 0:
            # Only root of the namespace mounts, and wflo is to be the user that it is.
            how = "-Urm"
            start = f"exec unshare -U --map-user={os.getuid()} --map-group={os.getgid()} {start.removeprefix('exec ')}"
        command = f'exec unshare {how} sh -c {shlex.quote(f"{inner} && {start}")} sh "$@"'
        self.wflo.write_text(f"#!/bin/sh\n{command}\n")
        self.wflo.chmod(0o755)
