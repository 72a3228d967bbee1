"""What a hostile client, or a hostile program inside, tries; and that nothing outlives the server."""

import json
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from served import Box, Served, Wflo


@pytest.fixture
def box(served: Served) -> Iterator[Box]:
    one = served.create()
    yield one
    one.kill()


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


@pytest.fixture
def secret() -> Iterator[Path]:
    """A file of the host's that anybody there may read."""
    path = Path(f"/var/tmp/wflo-secret-{os.getpid()}")
    path.write_text("of the host")
    path.chmod(0o644)
    yield path
    path.unlink()


def test_no_path_leads_to_the_host(box: Box, secret: Path) -> None:
    paths = [
        str(secret),
        f"../../../../../../..{secret}",
        f"/home/user/../../..{secret}",
        f"/proc/1/root{secret}",
        f"/proc/self/root{secret}",
        f"/proc/self/cwd/../../..{secret}",
    ]
    for path in paths:
        assert box.read(path).status in (400, 403, 404), path
    assert b"of the host" not in box.read("/etc/shadow").body
    assert box.read("/etc/shadow").status in (400, 403, 404)


def test_no_link_leads_to_the_host(box: Box, secret: Path) -> None:
    box.run(f"ln -s {secret} link; ln -s / root; ln -s /proc/1/root other")
    for path in ("link", f"root{secret}", f"other{secret}"):
        assert b"of the host" not in box.read(path).body, path
        box.write(path, b"changed")
    assert secret.read_text() == "of the host"


def test_a_race_of_links_leads_nowhere(box: Box, secret: Path) -> None:
    box.run(f"(while :; do ln -sfn {secret.parent} at; ln -sfn /home/user at; done) >/dev/null 2>&1 &")
    for _ in range(50):
        assert b"of the host" not in box.read(f"at/{secret.name}").body
        box.write(f"at/{secret.name}", b"changed")
    assert secret.read_text() == "of the host"


def test_two_sandboxes_see_nothing_of_each_other(served: Served, box: Box) -> None:
    other = served.create()
    box.write("/tmp/mine", b"1")
    assert other.read("/tmp/mine").status == 404
    box.run("sleep 4321 >/dev/null 2>&1 &")
    seen = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    assert b"sleep 4321" in box.run(seen)["stdout"]
    assert b"sleep 4321" not in other.run(seen)["stdout"]
    other.kill()


def test_there_is_no_network_unless_a_host_is_named(box: Box) -> None:
    port = box.served.address.split(":")[1]
    done = box.run(f"exec 3<>/dev/tcp/127.0.0.1/{port}")
    assert done["exit"] != 0
    assert box.run("cat /proc/net/route | wc -l")["stdout"].strip() == b"1"


def test_a_named_host_is_reached_through_the_proxy_alone(wflo: Wflo, tmp_path: Path) -> None:
    with Served(wflo, tmp_path, "--allow-host", "example.org") as served:
        box = served.create()
        assert b"127.0.0.1" in box.run("echo $HTTPS_PROXY")["stdout"]
        code = (
            "exec 3<>/dev/tcp/127.0.0.1/${HTTPS_PROXY##*:}; printf 'CONNECT other.example.net:443 HTTP/1.1\\r\\n"
            "Host: other.example.net:443\\r\\n\\r\\n' >&3; head -1 <&3"
        )
        assert b"403" in box.run(code)["stdout"]
        until(lambda: any(line["event"] == "connection.refused" for line in served.audit()))
        assert served.ask("PUT", f"/sandboxes/{box.id}/network", {"denyOut": ["0.0.0.0/0"]}).status == 204
        assert b"403" in box.run(code.replace("other.example.net", "example.org"))["stdout"]
        wider = served.ask("PUT", f"/sandboxes/{box.id}/network", {"allowOut": ["example.com"]})
        assert wider.status == 400 and b"WFLO-5294" in wider.body
        less = served.create(allow_internet_access=False)
        assert served.ask("PUT", f"/sandboxes/{less.id}/network", {}).status == 400
        assert less.run("echo $HTTPS_PROXY")["stdout"] == b"\n"
        answer = served.ask("POST", "/v2/sandboxes", {"templateID": "base", "network": {"allowOut": ["example.com"]}})
        assert answer.status == 400 and b"WFLO-5294" in answer.body


def test_where_a_part_of_a_host_is_named_requests_are_seen(wflo: Wflo, tmp_path: Path) -> None:
    with Served(wflo, tmp_path, "--allow-host", "GET https://example.org/status") as served:
        box, other = served.create(), served.create()
        shown = "cat $SSL_CERT_FILE"
        assert b"BEGIN CERTIFICATE" in box.run(shown)["stdout"]
        # Each has an authority of its own.
        assert box.run(shown)["stdout"] != other.run(shown)["stdout"]
        assert served.ask("PUT", f"/sandboxes/{box.id}/network", {"denyOut": ["0.0.0.0/0"]}).status == 204
        back = {"allowOut": ["GET https://example.org/status"]}
        assert served.ask("PUT", f"/sandboxes/{box.id}/network", back).status == 204


def test_a_disk_that_is_full_is_said_so_and_holds_nobody_up(wflo: Wflo, tmp_path: Path) -> None:
    with Served(wflo, tmp_path, "--disk", "20m") as served:
        box = served.create()
        answer = box.write("large", b"x" * (40 << 20))
        assert answer.status == 507, answer
        assert box.run("rm large; echo works")["stdout"] == b"works\n"


def test_a_bomb_that_is_compressed_fills_the_sandbox_alone(wflo: Wflo, tmp_path: Path) -> None:
    import gzip

    with Served(wflo, tmp_path, "--disk", "20m") as served:
        box = served.create()
        bomb = gzip.compress(b"\0" * (200 << 20))
        headers = {**box.headers(), "Content-Type": "application/octet-stream", "Content-Encoding": "gzip"}
        assert served.ask("POST", "/files?path=bomb", bomb, headers, key=None).status == 507


def test_a_message_that_is_too_long_is_refused_before_it_is_read(box: Box) -> None:
    host, port = box.served.address.split(":")
    head = (
        f"POST /filesystem.Filesystem/Stat HTTP/1.1\r\nHost: x\r\nE2b-Sandbox-Id: {box.id}\r\n"
        f"X-Access-Token: {box.token}\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head.encode())
        try:
            for _ in range(1_000):
                connection.sendall(b"[" * 65_536)
        except OSError:
            pass
        else:
            raise AssertionError("64 MB were taken")
    assert box.run("echo works")["stdout"] == b"works\n"


def test_envelopes_that_lie_are_refused(box: Box) -> None:
    headers = {**box.headers(), "Content-Type": "application/connect+json"}
    for body in (
        b"",
        b"\0",
        struct.pack(">BI", 0, 2**32 - 1) + b"{}",
        struct.pack(">BI", 1, 2) + b"{}",
        struct.pack(">BI", 0, 5) + b"nojso",
        struct.pack(">BI", 0, 2) + b"[]",
    ):
        answer = box.served.ask("POST", "/process.Process/Start", body, headers, key=None)
        assert answer.status == 200 and b'"error"' in answer.body, (body, answer)
    answer = box.served.ask(
        "POST", "/process.Process/List", b"\0\0", {**box.headers(), "Content-Type": "application/proto"}, key=None
    )
    assert answer.status == 415
    deep = b"[" * 100_000
    answer = box.served.ask(
        "POST", "/process.Process/List", deep, {**box.headers(), "Content-Type": "application/json"}, key=None
    )
    assert answer.status == 400


def test_slow_clients_hold_nobody_up(served: Served, box: Box) -> None:
    host, port = served.address.split(":")
    slow = [socket.create_connection((host, int(port)), timeout=60) for _ in range(300)]
    for connection in slow:
        connection.sendall(b"POST /sandboxes HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    assert box.run("echo works")["stdout"] == b"works\n"
    # Who has begun a head and says nothing more loses its connection.
    slow[0].settimeout(60)
    while slow[0].recv(4_096):
        pass
    for connection in slow:
        connection.close()


def test_a_client_that_takes_nothing_makes_its_program_wait_and_nobody_else(served: Served, box: Box) -> None:
    host, port = served.address.split(":")
    message = json.dumps({"process": {"cmd": "/bin/bash", "args": ["-c", "yes > /dev/stdout"]}}).encode()
    body = struct.pack(">BI", 0, len(message)) + message
    head = (
        f"POST /process.Process/Start HTTP/1.1\r\nHost: x\r\nE2b-Sandbox-Id: {box.id}\r\nX-Access-Token: {box.token}\r\n"
        f"Content-Type: application/connect+json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    before = resident(served.process.pid)
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head.encode() + body)
        connection.recv(10)
        for _ in range(20):
            assert box.run("echo works")["stdout"] == b"works\n"
        assert resident(served.process.pid) - before < 64 << 20


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_output_without_end_is_bounded(served: Served, box: Box) -> None:
    given = {"E2b-Sandbox-Id": box.id, "X-Access-Token": box.token}
    answer = served.ask(
        "POST", "/execute", {"code": "class R:\n  def __repr__(self): return 'x' * 50_000_000\nR()"}, given, key=None
    )
    (line,) = [json.loads(line) for line in answer.body.splitlines() if b'"result"' in line]
    assert "more than the" in line["text"] and len(answer.body) < 10_000


def test_an_agent_that_is_killed_from_inside_ends_its_sandbox(served: Served) -> None:
    box = served.create()
    box.run("kill -9 $PPID")
    until(lambda: served.ask("GET", f"/sandboxes/{box.id}").status == 404)
    answer = box.read("a")
    assert answer.status == 502 and b"was not found" in answer.body
    until(lambda: any(line["event"] == "sandbox.ended" and line["sandbox"] == box.id for line in served.audit()))


def test_more_sandboxes_than_there_is_room_for_are_refused(wflo: Wflo, tmp_path: Path) -> None:
    with Served(wflo, tmp_path, "--max-sandboxes", "2", "--memory", "256m") as served:
        boxes = [served.create(), served.create()]
        answer = served.ask("POST", "/v2/sandboxes", {"templateID": "base"})
        assert answer.status == 429 and b"WFLO-5292" in answer.body
        boxes[0].kill()
        until(lambda: served.ask("POST", "/v2/sandboxes", {"templateID": "base"}).status == 201)


def test_who_has_ended_a_sandbox_has_room_for_another(wflo: Wflo, tmp_path: Path) -> None:
    with Served(wflo, tmp_path, "--max-sandboxes", "1") as served:
        for _ in range(30):
            box = served.create()
            box.run("true")
            box.kill()


def test_memory_for_all_is_a_limit_too(wflo: Wflo, tmp_path: Path) -> None:
    with Served(wflo, tmp_path, "--max-memory", "600m", "--memory", "256m") as served:
        served.create(), served.create()
        answer = served.ask("POST", "/v2/sandboxes", {"templateID": "base"})
        assert answer.status == 429 and b"WFLO-5292" in answer.body
        answer = served.ask("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 10**7})
        assert answer.status == 400


def test_memory_of_one_is_its_own(wflo: Wflo, tmp_path: Path) -> None:
    with Served(wflo, tmp_path, "--memory", "128m") as served:
        box, other = served.create(), served.create()
        box.run("python3 -c 'x = bytearray(1 << 30)' || true")
        assert other.run("echo works")["stdout"] == b"works\n"


def descendants(pid: int) -> set[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout.split()
    return {int(one) for one in found} | {deep for one in found for deep in descendants(int(one))}


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
def test_nothing_outlives_the_server(wflo: Wflo, tmp_path: Path, signal: str) -> None:
    served = Served(wflo, tmp_path)
    box = served.create()
    box.run("setsid sleep 98765 >/dev/null 2>&1 & (setsid sh -c 'trap \"\" TERM; sleep 98766' &) >/dev/null 2>&1")
    inside = descendants(served.process.pid)
    assert len(inside) > 3
    subprocess.run(["kill", f"-{signal}", str(served.process.pid)], check=True)
    served.process.communicate(timeout=30)
    assert (served.process.returncode == 0) == (signal == "TERM")
    until(lambda: not any(alive(pid) for pid in inside))
    # Another server finds nothing in its way.
    with Served(wflo, tmp_path) as again:
        assert again.create().run("echo works")["stdout"] == b"works\n"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_a_server_does_not_offer_is_refused_by_name(served: Served, box: Box) -> None:
    for method, path in (
        ("POST", f"/sandboxes/{box.id}/snapshots"),
        ("POST", f"/sandboxes/{box.id}/fork"),
        ("GET", "/templates"),
        ("GET", "/volumes"),
        ("GET", "/secrets"),
    ):
        answer = served.ask(method, path, {} if method != "GET" else None)
        assert answer.status == 501 and "WFLO-5295" in answer.json()["message"], path
    for wish in ({"mcp": {"a": {}}}, {"iam": {"tokens": {"a": 1}}}, {"volumeMounts": [{"name": "a", "path": "/b"}]}):
        answer = served.ask("POST", "/v2/sandboxes", {"templateID": "base", **wish})
        assert answer.status == 400 and "WFLO-5294" in answer.json()["message"], wish


HELPS_ITSELF = """
import ctypes, os, signal, time
class timespec(ctypes.Structure): _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]
class itimerspec(ctypes.Structure): _fields_ = [("interval", timespec), ("value", timespec)]
class sigevent(ctypes.Structure):
    _fields_ = [("value", ctypes.c_void_p), ("signo", ctypes.c_int), ("how", ctypes.c_int), ("pad", ctypes.c_char * 48)]
libc = ctypes.CDLL(None)
def timer(signo, when):
    event, made = sigevent(None, signo, 0), ctypes.c_void_p()
    assert libc.timer_create(1, ctypes.byref(event), ctypes.byref(made)) == 0
    return lambda: libc.timer_settime(made, 0, ctypes.byref(when), None)
"""

# One process that has itself killed by a timer once it cannot set it anew, and its child, which hears of that by
# a signal that lets it go on: once.
BY_A_DEATH = """
ready, tell = os.pipe()
if os.fork():
    again = timer(signal.SIGKILL, itimerspec(timespec(0, 0), timespec(1, 0)))
    again()
    os.read(ready, 1)
    while True:
        again()
        time.sleep(0.1)
libc.prctl(1, signal.SIGCONT)
os.write(tell, b"1")
"""

# Again and again.
BY_A_TIMER = """
signal.signal(signal.SIGCONT, lambda *_: None)
timer(signal.SIGCONT, itimerspec(timespec(0, 10_000_000), timespec(0, 10_000_000)))()
"""

BEATS = """
import os, socket, time
proxy, port = os.environ["HTTPS_PROXY"][7:].split(":")
while True:
    try:
        with socket.create_connection((proxy, int(port))) as one:
            one.sendall(b"CONNECT HOST HTTP/1.1\\r\\nHost: HOST\\r\\n\\r\\n")
            one.recv(999)
            one.sendall(b"beat")
    except OSError:
        pass
    time.sleep(0.1)
"""


@pytest.fixture
def beats() -> Iterator[tuple[str, list[float]]]:
    """A host, and when somebody connected to it."""
    heard: list[float] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.2", 0))
        listener.listen()

        def accept() -> None:
            try:
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        if connection.recv(99):
                            heard.append(time.monotonic())
            except OSError:
                pass

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.2:{listener.getsockname()[1]}", heard
        listener.shutdown(socket.SHUT_RDWR)


def begin(box: Box, code: str) -> None:
    """Starts a program that outlives the call."""
    box.write("/tmp/code.py", code.encode())
    assert box.run("setsid python3 /tmp/code.py </dev/null >/dev/null 2>&1 &")["exit"] == 0


def ended(served: Served, box: Box) -> dict[str, object]:
    until(lambda: [line for line in served.audit() if line["event"] == "sandbox.ended" and line["sandbox"] == box.id])
    return next(line for line in served.audit() if line["event"] == "sandbox.ended" and line["sandbox"] == box.id)


@pytest.mark.parametrize("trick", [BY_A_DEATH, BY_A_TIMER], ids=["by a death", "by a timer"])
def test_a_paused_sandbox_that_goes_on_reaches_nobody(
    wflo: Wflo, tmp_path: Path, beats: tuple[str, list[float]], trick: str
) -> None:
    host, heard = beats
    with Served(wflo, tmp_path, "--allow-host", f"tcp://{host}") as served:
        box = served.create()
        begin(box, HELPS_ITSELF + trick + BEATS.replace("HOST", host))
        until(lambda: len(heard) > 2)
        assert served.ask("POST", f"/sandboxes/{box.id}/pause", {}).status == 204
        paused = time.monotonic()
        time.sleep(12)
        # A timer whose signal was pending at a stop never comes again; whoever goes on and on is ended.
        ends = [line["outcome"] for line in served.audit() if line["event"] == "sandbox.ended"]
        assert ends in ([], ["ran on while it was stopped"])
        # What was on its way when it was paused may arrive.
        assert not [when for when in heard if when > paused + 0.5]


def test_a_paused_sandbox_keeps_still_and_goes_on_with_its_network(
    wflo: Wflo, tmp_path: Path, beats: tuple[str, list[float]]
) -> None:
    host, heard = beats
    with Served(wflo, tmp_path, "--allow-host", f"tcp://{host}") as served:
        box = served.create()
        begin(box, BEATS.replace("HOST", host))
        until(lambda: len(heard) > 2)
        assert served.ask("POST", f"/sandboxes/{box.id}/pause", {}).status == 204
        time.sleep(0.5)
        before = len(heard)
        time.sleep(12)
        assert len(heard) == before
        assert served.ask("POST", f"/sandboxes/{box.id}/resume", {}).status == 201
        until(lambda: len(heard) > before + 2)


def test_a_paused_sandbox_is_ended_once_it_was_paused_for_as_long_as_one_may_run(wflo: Wflo, tmp_path: Path) -> None:
    with Served(wflo, tmp_path, "--max-timeout", "3s") as served:
        box = served.create(timeout=2, autoPause=True)
        until(lambda: served.ask("GET", f"/sandboxes/{box.id}").json()["state"] == "paused")
        # More time for what does not run is no more time for a pause.
        assert served.ask("POST", f"/sandboxes/{box.id}/timeout", {"timeout": 3}).status == 204
        assert ended(served, box)["why"] == "paused for too long"
        assert served.ask("GET", f"/sandboxes/{box.id}").status == 404


@pytest.mark.parametrize("begun", [b"", b"--b\r\nX: "], ids=["before the first part", "in the head of a part"])
def test_a_form_without_a_part_takes_no_memory(wflo: Wflo, tmp_path: Path, begun: bytes) -> None:
    with Served(wflo, tmp_path) as served:
        box = served.create()
        host, port = served.address.split(":")
        size = 100 << 20
        head = (
            f"POST /files?path=a HTTP/1.1\r\nHost: x\r\nE2b-Sandbox-Id: {box.id}\r\nX-Access-Token: {box.token}\r\n"
            f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {size}\r\n\r\n"
        )
        before = peak(served.process.pid)
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(head.encode() + begun)
            left = size - len(begun)
            while left:
                left -= connection.send(b"x" * min(left, 1 << 20))
            assert b" 400 " in connection.recv(99)
        assert peak(served.process.pid) - before < 32 << 20


def test_a_message_of_many_little_things_takes_its_own_length_of_memory(wflo: Wflo, tmp_path: Path) -> None:
    with Served(wflo, tmp_path) as served:
        box = served.create()
        body = b'{"path":"/tmp","x":[' + b"[]," * 2_790_000 + b"[]]}"
        headers = {**box.headers(), "Content-Type": "application/json"}
        before = peak(served.process.pid)
        with ThreadPoolExecutor(8) as pool:
            answers = list(
                pool.map(
                    lambda _: served.ask("POST", "/filesystem.Filesystem/Stat", body, headers, key=None).status,
                    range(8),
                )
            )
        assert answers == [200] * 8
        assert peak(served.process.pid) - before < 192 << 20


def test_one_idempotency_key_makes_one_sandbox(served: Served) -> None:
    def make(_: int) -> str:
        answer = served.ask("POST", "/v2/sandboxes", {"templateID": "base"}, {"Idempotency-Key": "one of a kind"})
        assert answer.status == 201, answer
        return answer.json()["sandboxID"]

    with ThreadPoolExecutor(8) as pool:
        (one,) = set(pool.map(make, range(8)))
    # With the same key, what was not asked for is not given.
    other = {"templateID": "base", "timeout": 30}
    refused = served.ask("POST", "/v2/sandboxes", other, {"Idempotency-Key": "one of a kind"})
    assert refused.status == 409 and "WFLO-5299" in refused.json()["message"], refused
    assert served.ask("DELETE", f"/sandboxes/{one}").status == 204


def peak(pid: int) -> int:
    """The most memory that a process had at a time, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
