"""The smaller effects: time, chance, people, events, the log, secrets and HTTP.

Owns one small class for each. What waits is journaled; the log is not.
"""

from __future__ import annotations

from .. import values
from ..errors import ApprovalRejected
from .calls import refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta
    from typing import Any

    from ..runner.broker import Broker
    from .calls import AsyncCalls, SyncCalls


class Decision:
    """What people decided: `approved`, their `comment` and who it was (`by`)."""

    __slots__ = ("approved", "by", "comment")

    def __init__(self, answer: dict[str, Any]) -> None:
        self.approved: bool = answer.get("approved") is True
        self.comment: str | None = answer.get("comment")
        self.by: str | None = answer.get("by")

    def __bool__(self) -> bool:
        return self.approved

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data: what it becomes as a step's output."""
        return {"approved": self.approved, "comment": self.comment, "by": self.by}

    def __repr__(self) -> str:
        return f"Decision(approved={self.approved}, by={self.by!r})"

    def checked(self, on_rejected: str, effect: tuple[str, int]) -> Decision:
        """This decision, or `ApprovalRejected` when it is a no that must stop the step."""
        if self.approved or on_rejected == "continue":
            return self
        who = f" by {self.by}" if self.by else ""
        why = f": {self.comment}" if self.comment else ""
        raise ApprovalRejected(
            f"the approval was rejected{who}{why}",
            code="WFLO-3310",
            hint='give on_rejected="continue" to get the decision instead of this error',
            kind="approval_rejected",
            effect=effect,
        )


def approval_request(
    message: str,
    approvers: Sequence[str],
    details: Mapping[str, Any] | None,
    timeout_seconds: float | timedelta | None,
    on_timeout: str | None,
    on_rejected: str,
) -> dict[str, Any]:
    """The request of an approval."""
    from .. import arguments
    from ..approval import ON_REJECTED, ON_TIMEOUT

    arguments.choice("on_rejected", on_rejected, ON_REJECTED)
    return {
        "message": arguments.text("message", message),
        "approvers": arguments.texts("approvers", approvers),
        "details": values.plain(dict(details or {}), "details"),
        "timeout_seconds": None if timeout_seconds is None else arguments.seconds("timeout_seconds", timeout_seconds),
        "on_timeout": None if on_timeout is None else arguments.choice("on_timeout", on_timeout, ON_TIMEOUT),
    }


def sleep_request(seconds: float | timedelta) -> dict[str, Any]:
    """The request of a sleep: seconds as an exact decimal text."""
    total = getattr(seconds, "total_seconds", None)
    amount: Any = total() if total is not None else seconds
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise TypeError(f"sleep takes seconds, not {type(seconds).__name__}")
    if amount != amount or amount < 0 or amount == float("inf"):
        raise ValueError(f"sleep takes a finite number of seconds from 0, not {amount}")
    text = repr(amount)
    if "e" in text:
        from decimal import Decimal

        text = format(Decimal(text), "f")
    return {"seconds": text}


def event_request(name: str, data: Any) -> dict[str, Any]:
    """The request of an event."""
    if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("an event's name must be text")
    return {"name": name, "data": values.plain(data, "data")}


def http_request(method: str, url: str, headers: Mapping[str, str] | None, body: Any) -> dict[str, Any]:
    """The request of an HTTP call."""
    return values.plain(
        {"method": method.upper(), "url": str(url), "headers": dict(headers or {}), "body": body}, "http"
    )


def instant(text: str) -> datetime:
    """An RFC 3339 time, in UTC. Parts below a microsecond are cut (`datetime` has none)."""
    from datetime import datetime, timezone

    main, zone = (text[:-1], "+00:00") if text.endswith(("Z", "z")) else (text[:-6], text[-6:])
    whole, dot, part = main.partition(".")
    if dot:
        whole = f"{whole}.{part[:6].ljust(6, '0')}"
    return datetime.fromisoformat(whole.replace("z", "").replace(" ", "T") + zone).astimezone(timezone.utc)


class Random:
    """Recorded chance: the same on resume. `await context.random()` is a float from 0 to below 1."""

    __slots__ = ("_calls",)

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def __call__(self) -> float:
        """A random number from 0 to below 1."""
        return float(await self._calls.effect("random", "random", {"kind": "random", "n": None}))

    async def uuid4(self) -> str:
        """A random UUID, as text."""
        return str(await self._calls.effect("random", "uuid4", {"kind": "uuid4", "n": None}))

    async def bytes(self, n: int) -> bytes:
        """`n` random bytes."""
        return _bytes(await self._calls.effect("random", "bytes", {"kind": "bytes", "n": n}))


class SyncRandom:
    """`context.random` of a sync step."""

    __slots__ = ("_calls",)

    def __init__(self, calls: SyncCalls) -> None:
        self._calls = calls

    def __call__(self) -> float:
        """A random number from 0 to below 1."""
        return float(self._calls.effect("random", "random", {"kind": "random", "n": None}))

    def uuid4(self) -> str:
        """A random UUID, as text."""
        return str(self._calls.effect("random", "uuid4", {"kind": "uuid4", "n": None}))

    def bytes(self, n: int) -> bytes:
        """`n` random bytes."""
        return _bytes(self._calls.effect("random", "bytes", {"kind": "bytes", "n": n}))


def _bytes(answer: Any) -> bytes:
    from binascii import a2b_base64

    return a2b_base64(answer["$bytes"] if isinstance(answer, dict) else answer)  # type: ignore


class Http:
    """`context.http`: every call is refused by name in this release."""

    __slots__ = ("_calls",)

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: Any = None
    ) -> Any:
        """Sends a request. Raises `NotAvailable` in this release."""
        return await self._calls.effect("http", "request", http_request(method, url, headers, body))

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> Any:
        """As `request("GET", url)`."""
        return await self.request("GET", url, headers=headers)

    async def post(self, url: str, *, headers: Mapping[str, str] | None = None, body: Any = None) -> Any:
        """As `request("POST", url)`."""
        return await self.request("POST", url, headers=headers, body=body)


class SyncHttp:
    """`context.http` of a sync step."""

    __slots__ = ("_calls",)

    def __init__(self, calls: SyncCalls) -> None:
        self._calls = calls

    def request(self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: Any = None) -> Any:
        """As `Http.request`."""
        return self._calls.effect("http", "request", http_request(method, url, headers, body))

    def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> Any:
        """As `request("GET", url)`."""
        return self.request("GET", url, headers=headers)

    def post(self, url: str, *, headers: Mapping[str, str] | None = None, body: Any = None) -> Any:
        """As `request("POST", url)`."""
        return self.request("POST", url, headers=headers, body=body)


class Secret:
    """A handle on a secret. Its value stays with the engine."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"

    def read(self) -> str:
        """Refused by name: secrets never enter the sandbox in this release."""
        raise refused(
            f"the value of the secret `{self.name}` cannot be read in a step in this release",
            "model keys and database passwords are used by wflo itself; a step needs none",
        )


class Secrets:
    """`context.secrets["name"]` is a handle."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Secret:
        return Secret(name)


class Log:
    """The run's log: `context.log("message", rows=3)`. Not awaited, and repeated on resume."""

    __slots__ = ("_broker",)

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def __call__(self, message: object, **fields: Any) -> None:
        """Logs at level info."""
        self._write("info", message, fields)

    def debug(self, message: object, **fields: Any) -> None:
        """Logs at level debug."""
        self._write("debug", message, fields)

    def info(self, message: object, **fields: Any) -> None:
        """Logs at level info."""
        self._write("info", message, fields)

    def warning(self, message: object, **fields: Any) -> None:
        """Logs at level warning."""
        self._write("warning", message, fields)

    def error(self, message: object, **fields: Any) -> None:
        """Logs at level error."""
        self._write("error", message, fields)

    def _write(self, level: str, message: object, fields: dict[str, Any]) -> None:
        text = str(message).encode("utf-8", "replace").decode()
        written: dict[str, Any] = {}
        for name, value in fields.items():
            try:
                written[name] = values.plain(value, name)
            except TypeError:
                written[name] = repr(value).encode("utf-8", "replace").decode()
        self._broker.log(level, text, written)
