"""The runner: the process in the sandbox that loads the user's file and runs its steps.

Owns the conversation with the engine (`docs/protocol.md`). The quickest way to start it is
`python -c "from wflo.runner import main; main()"`; `python -m wflo.runner` does the same. Whoever starts it where
the project is takes that folder off the path first.

**Architecture Invariant:** the runner is not trusted and keeps nothing: the journal, fingerprints
and digests are the engine's. It only says what step code asked for and returned.
"""

from __future__ import annotations

import os
import sys

from .broker import Broker, leave
from .delivery import Marks
from .frames import Channel, ChannelClosed, ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from ..workflow import Workflow
    from .delivery import Place

PROTOCOL = 1


def main() -> NoReturn:
    """Speaks with the engine on the socket whose number is in `WFLO_RUNNER_FD`, to the end."""
    number = os.environ.pop("WFLO_RUNNER_FD", "")
    if not number.isascii() or not number.isdigit():
        leave("WFLO_RUNNER_FD is not set: the runner is started by wflo, not by hand")
    try:
        channel = Channel(int(number))
        _serve(channel)
    except ProtocolError as error:
        leave(f"the engine broke the protocol: {error}")
    except ChannelClosed:
        # Between requests this is the engine's way of saying goodbye.
        os._exit(0)


def _serve(channel: Channel) -> NoReturn:
    features = _greet(channel)
    loaded: dict[tuple[str, str], Workflow] = {}
    while True:
        frame = channel.receive_one()
        kind = frame["type"]
        if kind == "prepare":
            from . import ahead

            ahead.prepare(channel, *_target(frame))
        elif kind == "describe":
            _describe(channel, frame, loaded)
        elif kind == "run_step":
            _run_step(channel, frame, loaded, features)
        elif kind == "cancel":
            os._exit(0)
        elif kind in ("hello", "effect_result", "effect_chunk"):
            raise ProtocolError(f'"{kind}" came where a request was expected')
        # Other types are of a later version of the protocol, which only adds.


def _greet(channel: Channel) -> frozenset[str]:
    frame = channel.receive_one()
    if frame["type"] != "hello":
        raise ProtocolError(f'the first frame is "{frame["type"]}", not "hello"')
    if frame.get("protocol") != PROTOCOL:
        raise ProtocolError(
            f"it speaks version {frame.get('protocol')!r} and this SDK version {PROTOCOL}; install the wflo-ai "
            "that belongs to the wflo binary"
        )
    from .. import __version__, session

    session.isolated = frame.get("isolated") is not False
    channel.send(
        {
            "type": "hello",
            "protocol": PROTOCOL,
            "language": "python",
            "language_version": ".".join(map(str, sys.version_info[:3])),
            "sdk_version": __version__,
        }
    )
    features = frame.get("features")
    return frozenset(map(str, features)) if isinstance(features, list) else frozenset()  # type: ignore


def _target(frame: dict[str, Any]) -> tuple[str, str]:
    project, workflow = frame.get("project"), frame.get("workflow")
    if not isinstance(project, str) or not isinstance(workflow, str) or not os.path.isabs(project):
        raise ProtocolError(f'"{frame["type"]}" needs "project" (absolute) and "workflow"')
    return project, workflow


def _load(frame: dict[str, Any], loaded: dict[tuple[str, str], Workflow]) -> Workflow:
    from . import loader

    target = _target(frame)
    if target not in loaded:
        loaded[target] = loader.load(*target)
    return loaded[target]


def _describe(channel: Channel, frame: dict[str, Any], loaded: dict[tuple[str, str], Workflow]) -> None:
    project, _ = _target(frame)
    try:
        workflow = _load(frame, loaded)
        from . import loader

        answer: dict[str, Any] = {
            "type": "definition",
            "definition": workflow.definition(),
            "files": loader.imported_files(project),
            "interpreter": f"{sys.implementation.name}-{sys.version_info[0]}.{sys.version_info[1]}",
        }
        packed = channel.pack(answer)
    except (ProtocolError, ChannelClosed):
        raise
    except BaseException as error:
        packed = channel.pack(_failed(error, project))
    _flush()
    channel.send_packed(packed)


def _run_step(
    channel: Channel, frame: dict[str, Any], loaded: dict[tuple[str, str], Workflow], features: frozenset[str]
) -> NoReturn:
    project, _ = _target(frame)
    length = frame.get("replay_length") or 0
    if not isinstance(length, int) or length < 0:
        raise ProtocolError('"replay_length" is not a count')
    broker = Broker(channel, length, features, Marks(_places(frame, "asked"), _places(frame, "cancelled")))
    broker.project = project
    try:
        from . import steps

        packed = steps.run(broker, _load(frame, loaded), frame)
    except (ProtocolError, ChannelClosed):
        raise
    except BaseException as error:
        if channel.forked:
            # A fork of the step that fell out of its function must not speak for the step.
            _flush()
            os._exit(1)
        broker.ended = True
        packed = channel.pack(_failed(error, project, broker.cancelled))
        _flush()
        from . import finish

        finish.flush()
    if channel.forked:
        os._exit(0)
    try:
        channel.send_packed(packed)
    except ChannelClosed as error:
        leave(str(error))
    os._exit(0)


def _places(frame: dict[str, Any], name: str) -> list[Place]:
    given: Any = frame.get(name) or []
    try:
        return [(str(path), int(seq), int(after)) for path, seq, after in given]
    except (TypeError, ValueError):
        raise ProtocolError(f'"{name}" is not a list of places') from None


def _failed(error: BaseException, project: str, cancelled: str | None = None) -> dict[str, Any]:
    from . import failure

    return {"type": "failed", "error": failure.describe(error, project, cancelled)}


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            continue  # Step code may have closed or replaced them.
