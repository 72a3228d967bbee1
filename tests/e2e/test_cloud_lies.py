"""What a cloud says is taken for hostile: it ends the sandbox, never the engine, and nothing of this host is touched."""

import json
import struct
from collections.abc import Iterator

import pytest
from cloud import Liar, envelope, event, frame, written
from project import Done, Project

STARTED = event({"start": {"pid": 7}})
KEY = "e2b_the-real-key"


@pytest.fixture
def liar(project: Project) -> Iterator[Liar]:
    with Liar() as liar:
        project.environment |= liar.env
        yield liar


def tried(project: Project) -> Done:
    done = project.call("sandbox", "exec", "--sandbox", "e2b", "--workspace", ".", "--keep", "--", "true")
    assert done.code == 125 and "WFLO-" in done.err, done
    assert KEY not in done.out + done.err and "token-of-it" not in done.out + done.err, done
    return done


@pytest.mark.parametrize(
    ("what", "answer", "code"),
    [
        ("GET /v2/sandboxes", (200, {"not": "a list"}), "WFLO-5313"),
        ("GET /v2/sandboxes", (200, b"x" * (2 << 20)), "WFLO-5313"),
        ("GET /v2/sandboxes", (500, {"message": f"your key is {KEY}\x1b[2J"}), "WFLO-5310"),
        ("GET /v2/sandboxes", (302, {}), "WFLO-5310"),
        ("POST /sandboxes", (201, {"sandboxID": "../../etc"}), "WFLO-5313"),
        ("POST /sandboxes", (201, b"<html>hello</html>"), "WFLO-5313"),
        ("POST /sandboxes", (201, {"sandboxID": "i1", "envdAccessToken": "a\r\nb: c"}), "WFLO-5307"),
        ("POST /sandboxes", (403, {}), "WFLO-5309"),
        ("POST /sandboxes", (404, {"message": "template 'base' not found"}), "WFLO-5311"),
        ("POST /sandboxes", (429, {"message": "too many"}), "WFLO-5312"),
        ("POST /files", (507, {"message": "the disk is full"}), "WFLO-5310"),
        ("POST /process.Process/Start", (401, {"message": "token-of-it is wrong"}), "WFLO-5310"),
    ],
)
def test_an_answer_that_is_none(project: Project, liar: Liar, what: str, answer: tuple, code: str) -> None:
    liar.answers[what] = answer
    done = tried(project)
    assert code in done.err and "\x1b" not in done.err, done


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ([b""], "WFLO-5314"),
        ([b"no envelope at all"], "WFLO-5313"),
        ([envelope(b"", length=0xFFFFFFFF)], "WFLO-5313"),
        ([envelope(b"{}", flags=1)], "WFLO-5313"),
        ([written(frame("R"))], "WFLO-5313"),
        ([STARTED, envelope(b"", length=0xFFFFFFF)], "WFLO-5314"),
        ([STARTED, event({"end": {"status": "exit status 127", "error": "exit status 127"}})], "WFLO-5314"),
        ([STARTED, written(b"garbage that is no frame of anybody's")], "WFLO-5314"),
        ([STARTED, written(b"D" + struct.pack("<II", 1, 0xFFFFFFFF))], "WFLO-5314"),
        ([STARTED, written(frame("R", b"another program's hash, of 32 by"))], "WFLO-5315"),
        ([STARTED, written(frame("R"))], "WFLO-5315"),
        ([STARTED, *[written(b"." * 100)] * 10], "WFLO-5314"),
    ],
)
def test_a_process_that_is_no_keeper(project: Project, liar: Liar, said: list[bytes], code: str) -> None:
    liar.streams(*said)
    done = tried(project)
    assert code in done.err, done
    assert any(what == "DELETE /sandboxes/i1" for what, _, _ in liar.asked), "what was made is ended"


def test_what_is_asked_for_says_no_internet_no_pause_and_whose_it_is(project: Project, liar: Liar) -> None:
    liar.streams(STARTED)
    tried(project)
    asked = {what: (headers, body) for what, headers, body in liar.asked}
    wish = json.loads(asked["POST /sandboxes"][1])
    assert wish["allow_internet_access"] is False and wish["autoPause"] is False, wish
    assert set(wish["metadata"]) == {"wflo-store", "wflo-engine", "wflo-step"}, wish
    assert str(project.folder) not in str(wish), "nothing of this machine's paths"
    assert asked["POST /sandboxes"][0]["x-api-key"] == KEY
    # The key opens the account, and is for the API alone; inside, the sandbox's own token does.
    for what in ("POST /files", "POST /process.Process/Start"):
        headers = asked[what][0]
        assert headers["x-access-token"] == "token-of-it" and "x-api-key" not in headers, (what, headers)
    assert not any(KEY.encode() in body for _, _, body in liar.asked)


def test_a_busy_cloud_is_asked_again_for_what_may_be_done_twice(project: Project, liar: Liar) -> None:
    busy = (503, {"Retry-After": "0"}, {"message": "busy"})
    liar.says("GET /v2/sandboxes", busy, (429, {}, {"message": "later"}), (200, {}, []))
    liar.says("POST /sandboxes", busy)
    assert "status 503" in tried(project).err
    asked = [what for what, _, _ in liar.asked]
    assert asked.count("GET /v2/sandboxes") == 3, asked
    assert asked.count("POST /sandboxes") == 1, "it may have been made"
    # It has an end, and a pause that is asked for and is longer than what there is time for is none.
    liar.says("GET /v2/sandboxes", (503, {"Retry-After": "99999"}, {"message": "next week"}))
    liar.asked.clear()
    assert "WFLO-5310" in tried(project).err
    assert [what for what, _, _ in liar.asked] == ["GET /v2/sandboxes"]


def test_a_list_without_an_end_holds_up_no_start(project: Project, liar: Liar) -> None:
    # Nothing in it is this store's, whatever the cloud says of it.
    another = {"sandboxID": "i9", "metadata": {"wflo-store": "another", "wflo-engine": "none"}}
    liar.says("GET /v2/sandboxes", (200, {"X-Next-Token": "more"}, [another] * 500))
    liar.streams(STARTED)
    tried(project)
    asked = [what for what, _, _ in liar.asked]
    assert 1 < asked.count("GET /v2/sandboxes") < 100, asked
    assert "POST /sandboxes" in asked and "DELETE /sandboxes/i9" not in asked
