"""Checks of what users pass to the SDK, with errors that name the fix at the user's line.

Owns the checks shared by every noun (text, numbers, money, choices). What a noun's own values
mean stands with the noun. The engine checks definitions again: these checks exist so that a
mistake is shown at the line it was made on.
"""

from __future__ import annotations

from .errors import DefinitionError
from .origin import calling_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import timedelta
    from decimal import Decimal
    from typing import Any, TypeAlias, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])
    Money: TypeAlias = "int | float | str | Decimal"
    """An amount in US dollars. A float goes out as the shortest decimal that reads back as it."""
    Seconds: TypeAlias = "float | timedelta"
    """A duration: a number of seconds, or a `timedelta`."""


BAD_NAME, BAD_NUMBER = "WFLO-1002", "WFLO-1007"
"""Codes of the engine for what is found here first: a name that cannot be one, a number out of its range."""

_MOST_SECONDS = 100 * 365 * 86_400


def wrong(what: str, *, hint: str | None = None, code: str = "WFLO-1501") -> DefinitionError:
    """A definition error at the user's line."""
    return DefinitionError(what, code=code, hint=hint, place=calling_place())


def show(value: object) -> str:
    """A short rendering of a value with its type, for messages."""
    text = repr(value)
    if len(text) > 60:
        text = text[:57] + "..."
    return f"{text} ({type(value).__name__})"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be."""
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def checked(function: F) -> F:
    """Turns a call that does not fit the signature into a `DefinitionError` at the user's line.

    Only a failed binding is turned (the traceback then ends in the wrapper); a `TypeError` from
    inside the function passes.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise
            problem = error
        raise _unbound(function, kwargs, problem) from None

    call.__name__ = function.__name__
    call.__qualname__ = function.__qualname__
    call.__doc__ = function.__doc__
    call.__module__ = function.__module__
    call.__wrapped__ = function  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def _unbound(function: Callable[..., Any], kwargs: Mapping[str, object], error: TypeError) -> DefinitionError:
    code = function.__code__
    count = code.co_argcount + code.co_kwonlyargcount
    known = [name for name in code.co_varnames[:count] if name != "self"]
    name = function.__qualname__
    name = name[: -len(".__init__")] if name.endswith(".__init__") else name
    for given in kwargs:
        if given not in known:
            close = nearest(given, known)
            hint = f"did you mean `{close}`?" if close else f"it takes {', '.join(known)}"
            return wrong(f"{name}() has no argument `{given}`", hint=hint)
    text = str(error)
    _, _, rest = text.partition("() ")
    return wrong(f"{name}() {rest or text}", hint=f"it takes {', '.join(known)}")


def text(name: str, value: object) -> str:
    """A text that is not empty."""
    if not isinstance(value, str):
        raise wrong(f"{name} must be text, not {show(value)}", hint=f'write {name}="..."')
    if not value.strip():
        raise wrong(f"{name} is empty", hint=f"give {name} a value or leave it out")
    return value


def name(what: str, value: object) -> str:
    """A name of a workflow or a step, by the engine's rule: ASCII letters, digits, `_` and `-`, at most 64."""
    given = text("name", value)
    letters = given.replace("_", "a").replace("-", "0")
    if len(given) <= 64 and letters.isascii() and letters.isalnum() and letters[0].isalpha():
        return given
    fit = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in given)[:64].strip("-")
    raise wrong(
        f"`{given}` is not a {what} name: use letters, digits, _ and -, starting with a letter, at most 64",
        code=BAD_NAME,
        hint=f'such as "{fit}"' if fit[:1].isalpha() or fit[:1] == "_" else None,
    )


def boolean(name: str, value: object) -> bool:
    """True or False; nothing that is merely truthy."""
    if not isinstance(value, bool):
        raise wrong(f"{name} must be True or False, not {show(value)}", hint=f"write {name}=True")
    return value


def integer(name: str, value: object, *, least: int = 0, most: int | None = None) -> int:
    """A whole number of at least `least` and at most `most`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(f"{name} must be a whole number, not {show(value)}", hint=f"write {name}={max(least, 1)}")
    if value < least:
        raise wrong(f"{name} is {value}; it must be at least {least}", code=BAD_NUMBER)
    if most is not None and value > most:
        raise wrong(f"{name} is {value}; it must be at most {most}", code=BAD_NUMBER)
    return value


def number(
    name: str, value: object, *, least: float = 0.0, above: bool = False, most: float | None = None
) -> float | int:
    """A finite number of at least `least` (greater than it when `above`) and at most `most`."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise wrong(f"{name} must be a number, not {show(value)}", hint=f"write {name}=1.5")
    if value != value or value in (float("inf"), float("-inf")):
        raise wrong(f"{name} is {value}; it must be a finite number", code=BAD_NUMBER)
    if value < least or (above and value == least):
        relation = "more than" if above else "at least"
        raise wrong(f"{name} is {value}; it must be {relation} {least:g}", code=BAD_NUMBER)
    if most is not None and value > most:
        raise wrong(f"{name} is {value}; it must be at most {most:g}", code=BAD_NUMBER)
    return value


def seconds(name: str, value: object) -> float | int:
    """A duration in seconds, of a millisecond to a hundred years: a number or a `datetime.timedelta`."""
    total = getattr(value, "total_seconds", None)
    if total is not None:
        value = total()
    elif isinstance(value, str):
        raise wrong(f"{name} must be a number of seconds, not {show(value)}", hint=f"write {name}=60")
    if value == 0:
        raise wrong(f"{name} must be above 0", code=BAD_NUMBER)
    return number(name, value, least=0.001, most=_MOST_SECONDS)


def choice(name: str, value: object, known: tuple[str, ...]) -> str:
    """One of the texts in `known`."""
    if isinstance(value, str) and value in known:
        return value
    listed = ", ".join(f'"{word}"' for word in known)
    close = nearest(value, known) if isinstance(value, str) else None
    raise wrong(
        f"{name} is {show(value)}; it must be one of {listed}", hint=f"did you mean `{close}`?" if close else None
    )


def texts(name: str, value: object) -> list[str]:
    """A list of texts. A single text is refused: it would be read letter by letter elsewhere."""
    if isinstance(value, str):
        raise wrong(f"{name} must be a list of texts, not one text", hint=f'write {name}=["{value}"]')
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise wrong(f"{name} must be a list of texts, not {show(value)}", hint=f'write {name}=["..."]')
    items: list[object] = sorted(value) if isinstance(value, (set, frozenset)) else list(value)  # type: ignore
    return [text(f"{name}[{index}]", item) for index, item in enumerate(items)]


def mapping(name: str, value: object) -> dict[str, object]:
    """A dict with text keys; `None` is an empty one."""
    if value is None:
        return {}
    try:
        items: dict[object, object] = dict(value)  # type: ignore
    except (TypeError, ValueError):
        raise wrong(f"{name} must be a dict, not {show(value)}", hint=f'write {name}={{"text": "..."}}') from None
    return {text(f"the name of one of the {name}", key): item for key, item in items.items()}


def money(name: str, value: object) -> str:
    """An amount in US dollars as an exact decimal text with at most nine decimals.

    A float is taken at its `repr`, the shortest decimal that reads back as the same float, so
    that `50.1` means 50.1 and not 50.10000000000000142.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        if type(value).__name__ != "Decimal":
            raise wrong(f"{name} must be an amount in dollars, not {show(value)}", hint=f'write {name}="5.00"')
        amount = str(value)
    else:
        amount = value.strip() if isinstance(value, str) else repr(value)
    if "e" in amount or "E" in amount:
        import decimal

        try:
            amount = format(decimal.Decimal(amount), "f")
        except decimal.InvalidOperation:
            pass
    whole, dot, part = amount.partition(".")
    if not (whole.isascii() and whole.isdigit()) or (dot and not (part.isascii() and part.isdigit())):
        negative = amount.startswith("-")
        raise wrong(
            f"{name} is {show(value)}, which is {'negative' if negative else 'not an amount in dollars'}",
            code=BAD_NUMBER if negative else "WFLO-1501",
            hint=f'write {name}="5.00"',
        )
    if len(part.rstrip("0")) > 9:
        raise wrong(f"{name} is {amount}; amounts have at most nine decimals (a billionth of a dollar)")
    return f"{whole}.{part[:9]}" if dot else amount


def fractions(name: str, value: object) -> list[float]:
    """Fractions of a budget, each above 0 and at most 1, in rising order."""
    if not isinstance(value, (list, tuple)):
        raise wrong(f"{name} must be a list of fractions, not {show(value)}", hint=f"write {name}=[0.5, 0.9]")
    found: list[float] = []
    items: list[object] = list(value)  # type: ignore
    for index, item in enumerate(items):
        share = float(number(f"{name}[{index}]", item, above=True))
        if share > 1:
            raise wrong(
                f"{name}[{index}] is {share:g}; fractions go up to 1",
                code=BAD_NUMBER,
                hint=f"write {share / 100:g} for {share:g}%",
            )
        if found and share <= found[-1]:
            raise wrong(f"{name} must rise; {share:g} comes after {found[-1]:g}")
        found.append(share)
    return found
