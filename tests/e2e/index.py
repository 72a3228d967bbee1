"""A simple index (PEP 503) on an address of this machine, of wheels that the tests write themselves."""

import base64
import hashlib
import http.server
import io
import ssl
import tarfile
import threading
import zipfile
from pathlib import Path

HOST = "127.0.0.2"


def wheel(name: str, version: str, files: dict[str, str], requires: tuple[str, ...] = (), script: str = "") -> bytes:
    """A pure wheel; `script` is `command = module:function`."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {wanted}\n" for wanted in requires)
    content = {
        **files,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        content[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script}\n"
    lines = []
    for path, text in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(text.encode())}")
    content[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]) + "\n"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in content.items():
            archive.writestr(path, text)
    return made.getvalue()


def source(name: str, version: str, files: dict[str, str]) -> bytes:
    """A source package: code that is run to build it."""
    made = io.BytesIO()
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for path, text in {**files, "PKG-INFO": about}.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{path}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return made.getvalue()


class Index:
    """Serves packages, and remembers what it was asked and with which credentials."""

    def __init__(self, tls: Path | None = None, hold: threading.Event | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.pages: dict[str, str] = {}
        self.asked: list[str] = []
        self.credentials: list[str] = []
        self.posted: list[str] = []
        self.password: str | None = None
        self.begun = threading.Event()
        index = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.asked.append(self.path)
                index.begun.set()
                if hold:
                    hold.wait(600)
                given = self.headers.get("Authorization")
                if given:
                    index.credentials.append(base64.b64decode(given.split()[1]).decode())
                if index.password and (not given or index.credentials[-1] != index.password):
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="packages"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                body = index.body(self.path)
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def do_POST(self) -> None:
                index.posted.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer((HOST, 0), Answer)
        self.scheme = "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.scheme = "https"
        self.at = f"{HOST}:{self.server.server_address[1]}"
        self.url = f"{self.scheme}://{self.at}/simple"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, name: str, version: str, files: dict[str, str], **more: object) -> None:
        self.files[f"{name}-{version}-py3-none-any.whl"] = wheel(name, version, files, **more)  # type: ignore[arg-type]

    def body(self, path: str) -> bytes | None:
        if path.startswith("/files/"):
            return self.files.get(path.removeprefix("/files/"))
        name = path.removeprefix("/simple/").rstrip("/")
        found = [file for file in self.files if file.split("-")[0].replace("_", "-") == name]
        links = "".join(f'<a href="/files/{file}">{file}</a>\n' for file in found)
        links += self.pages.get(name, "")
        return f"<html><body>{links}</body></html>".encode() if links else None

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
