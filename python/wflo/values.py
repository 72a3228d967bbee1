"""JSON values: what may be recorded, and how it is written.

Owns the check that a value is plain JSON, naming the path inside it that is not
(`outputs.rows[3].when is a datetime`), and the encoder. Values are checked before they are
written, so that a value which cannot be replayed exactly is refused at the line that made it.

The accelerators of `json` are used directly: importing `json` itself pulls in `re` and `enum`,
seven milliseconds of every step's start.
"""

from __future__ import annotations

from .errors import ValueNotJson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_DEPTH = 100
"""The deepest nesting that is written; readers of JSON stop at 128."""

_INT_LEAST, _INT_MOST = -(1 << 63), (1 << 64) - 1


def _accelerated() -> tuple[Any, Any]:
    try:
        from _json import encode_basestring, make_encoder, make_scanner  # type: ignore

        class Context:
            strict = True
            object_hook = None
            object_pairs_hook = None
            parse_float = float
            parse_int = int

            @staticmethod
            def parse_constant(name: str) -> None:
                raise ValueError(f"{name} is not JSON")

        scan: Any = make_scanner(Context)  # type: ignore
        chunks: Any = make_encoder(None, _refuse, encode_basestring, None, ":", ",", False, False, False)
        probe = {"a": [1, 0.5, None, True, "\u00e9"]}
        written = "".join(chunks(probe, 0))
        if written == '{"a":[1,0.5,null,true,"\u00e9"]}' and scan(written, 0) == (probe, len(written)):

            def encode(value: object) -> str:
                return "".join(chunks(value, 0))

            def decode(text: str) -> object:
                try:
                    value, end = scan(text, 0)
                except StopIteration:
                    raise ValueError("not a JSON value") from None
                except SystemError:
                    # The scanner's own error class is in `json.decoder`, which is not imported.
                    import json

                    return json.loads(text)
                if text[end:].strip():
                    raise ValueError("more than one JSON value")
                return value

            return encode, decode
    except (ImportError, TypeError, AttributeError):
        pass
    import json

    return json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode, json.loads


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not JSON")


_encode, _decode = _accelerated()


def encode(value: object) -> bytes:
    """The value as compact UTF-8 JSON. It must be plain (see `plain`)."""
    return _encode(value).encode("utf-8")


def decode(data: bytes) -> Any:
    """The value that JSON text stands for.

    Raises `ValueError` for anything that is not one JSON value in UTF-8.
    """
    try:
        return _decode(data.decode("utf-8").strip())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def plain(value: object, path: str) -> Any:
    """The value as plain JSON (dicts with text keys, lists, text, numbers, true, false, null).

    Tuples become lists. Subclasses of those types become the types themselves.
    Raises `ValueNotJson` naming the place inside the value; `path` is what the user calls it.
    """
    try:
        return _plain(value, 0)
    except _Problem as problem:
        where = path + "".join(reversed(problem.parts))
        where = where if len(where) <= 200 else where[:197] + "..."
        message, hint = problem.message.replace("@", where, 1), problem.hint
    raise ValueNotJson(message, code="WFLO-3301", hint=hint)


class _Problem(Exception):
    """What is wrong with a value (`@` stands for its place); the place is added while unwinding."""

    def __init__(self, message: str, hint: str) -> None:
        self.message = message
        self.hint = hint
        self.parts: list[str] = []


def _plain(value: Any, depth: int) -> Any:
    kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]
    if kind is str:
        return value if value.isascii() else _text(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        return _integer(value)
    if kind is float:
        return _float(value)
    if depth >= MAX_DEPTH:
        raise _Problem(
            f"@ is nested more than {MAX_DEPTH} levels deep", "a value that contains itself cannot be recorded"
        )
    if kind is dict or isinstance(value, dict):
        return _object(value, depth + 1)  # pyright: ignore[reportUnknownArgumentType]
    if kind is list or isinstance(value, (list, tuple)):
        found: list[Any] = []
        try:
            items: Any = value  # pyright: ignore[reportUnknownVariableType]
            for item in items:
                found.append(_plain(item, depth + 1))
        except _Problem as problem:
            problem.parts.append(f"[{len(found)}]")
            raise
        return found
    if isinstance(value, str):
        return _text(str.__str__(value))
    if isinstance(value, int):
        return _integer(int(value))
    if isinstance(value, float):
        return _float(float(value))
    as_dict: Any = getattr(kind, "as_dict", None) if kind.__module__.startswith("wflo.") else None
    if as_dict is not None:
        # What an effect answered, such as `return await context.db.execute(...)`.
        return _plain(as_dict(value), depth + 1)
    raise _Problem(f"@ is a {_kind(value)}, which is not JSON", _hint(value))


def _object(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    key: Any = None
    try:
        for key, item in value.items():
            if type(key) is not str:
                if not isinstance(key, str):
                    raise _BadKey(
                        f"@ has the key {_brief(key)}, a {_kind(key)}; keys must be text",
                        "write {str(key): value for key, value in ....items()}",
                    )
                key = str.__str__(key)
            if not key.isascii():
                _text(key)
            found[key] = _plain(item, depth)
    except _BadKey as problem:
        raise problem.here() from None
    except _Problem as problem:
        problem.parts.append(f".{key}" if key.isidentifier() else f"[{_brief(key)}]")
        raise
    return found


class _BadKey(Exception):
    """A key that is not text; its place is the object's, not the key's."""

    def here(self) -> _Problem:
        return _Problem(*self.args)


def _brief(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _text(value: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _Problem(
            "@ holds half of a surrogate pair, which is not valid text",
            'clean it with value.encode("utf-8", "replace").decode()',
        ) from None
    return value


def _integer(value: int) -> int:
    if _INT_LEAST <= value <= _INT_MOST:
        return value
    raise _Problem("@ is an integer beyond 64 bits", "write it as text with str(value)")


def _float(value: float) -> float:
    if value != value or value in (float("inf"), float("-inf")):
        raise _Problem(f"@ is {value}, which is not JSON", "use None instead")
    return value


def _kind(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ in ("builtins", "datetime") else f"{kind.__module__}.{kind.__name__}"


def _hint(value: object) -> str:
    name = type(value).__name__
    if hasattr(value, "isoformat"):
        return "write it as text with value.isoformat()"
    if name in ("Decimal", "UUID", "PosixPath", "WindowsPath", "Path", "Fraction"):
        return "write it as text with str(value)"
    if isinstance(value, (set, frozenset)):
        return "write it as a list with sorted(value)"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "write it as text with base64.b64encode(value).decode(), or save it in a file"
    if hasattr(value, "model_dump"):
        return 'write it as a dict with value.model_dump(mode="json")'
    if hasattr(value, "__dataclass_fields__"):
        return "write it as a dict with dataclasses.asdict(value)"
    if hasattr(value, "__await__"):
        return "an `await` is missing"
    if hasattr(value, "tolist"):
        return "write it as a list with value.tolist()"
    if hasattr(value, "__next__"):
        return "write it as a list with list(value)"
    return "return dicts, lists, text, numbers, True, False or None"
