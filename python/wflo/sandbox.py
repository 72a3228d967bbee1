"""What a workflow asks of its sandbox.

Owns the names and the wire form of the sandbox settings; unset ones are left to `wflo.toml` and
the defaults. Enforcing them is the engine's.
"""

from __future__ import annotations

from . import arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

BACKENDS = ("native", "docker", "gvisor", "e2b", "none")


_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def size(name: str, value: object, least: str = "1", most: str | None = None) -> str:
    """A size such as `"512m"`: a number of bytes, or one with k, m, g or t (powers of 1024)."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        value = str(value)
    amount = _bytes(value) if isinstance(value, str) else None
    if isinstance(value, str) and amount is not None:
        if amount < (_bytes(least) or 0):
            raise arguments.wrong(f"{name} must be at least {least}", code=arguments.BAD_NUMBER)
        if most is not None and amount > (_bytes(most) or 0):
            raise arguments.wrong(f"{name} must be at most {most}", code=arguments.BAD_NUMBER)
        return value.strip()
    raise arguments.wrong(f"{name} must be a size, not {arguments.show(value)}", hint=f'write {name}="512m"')


def _bytes(text: str) -> float | None:
    digits = text.strip().lower().rstrip("b").removesuffix("i")
    unit = _UNITS.get(digits[-1:], 1)
    digits = digits if unit == 1 else digits[:-1].rstrip()
    whole, dot, part = digits.partition(".")
    number = (whole + part).isascii() and whole.isdigit() and (not dot or part.isdigit())
    return float(digits) * unit if number else None


def cpus(name: str, value: object) -> str:
    """A number of CPUs such as `"0.5"`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = f"{arguments.number(name, value, least=0.001, most=1000):.12g}"
    if isinstance(value, str):
        whole, _, part = value.strip().partition(".")
        if (whole + part).isascii() and (whole + part).isdigit():
            arguments.number(name, float(value), least=0.001, most=1000)
            return value.strip()
    raise arguments.wrong(f"{name} must be a number of CPUs, not {arguments.show(value)}", hint=f'write {name}="0.5"')


def _memory(name: str, value: object) -> str:
    return size(name, value, "16m")


def _disk(name: str, value: object) -> str:
    return size(name, value, "1m")


def _inodes(name: str, value: object) -> int:
    return arguments.integer(name, value, least=100, most=4 << 20)


def _pids(name: str, value: object) -> int:
    # One for the step, one for what looks after it.
    return arguments.integer(name, value, least=2)


def _io(name: str, value: object) -> dict[str, str | int]:
    checks: dict[str, Callable[[str, object], str | int]] = {
        "read": size,
        "write": size,
        "read_ops": _operations,
        "write_ops": _operations,
    }
    return _limits(name, value, checks, f'{name}={{"read": "50m", "write_ops": 100}}')


def _network(name: str, value: object) -> dict[str, str | int]:
    def bytes_to(most: str) -> Callable[[str, object], str]:
        return lambda name, value: size(name, value, most=most)

    def count_to(most: int) -> Callable[[str, object], int]:
        return lambda name, value: arguments.integer(name, value, least=1, most=most)

    checks: dict[str, Callable[[str, object], str | int]] = {
        "sent": bytes_to("1t"),
        "received": bytes_to("16t"),
        "requests": count_to(1_000_000_000),
        "connections": count_to(1_000),
        "requests_per_minute": count_to(60_000),
    }
    return _limits(name, value, checks, f'{name}={{"sent": "10m", "requests": 100}}')


def _limits(
    name: str, value: object, checks: dict[str, Callable[[str, object], str | int]], example: str
) -> dict[str, str | int]:
    if not isinstance(value, dict):
        raise arguments.wrong(f"{name} must be a dict of limits, not {arguments.show(value)}", hint=f"write {example}")
    limits: dict[Any, object] = value  # pyright: ignore[reportUnknownVariableType]
    for key in limits:
        if key not in checks:
            close = arguments.nearest(str(key), checks)
            hint = f"did you mean `{close}`?" if close else f"it takes {', '.join(checks)}"
            raise arguments.wrong(f"{name} has no limit {arguments.show(key)}", hint=hint)
    return {key: checks[key](f"{name}[{key!r}]", limit) for key, limit in limits.items()}


def _operations(name: str, value: object) -> int:
    return arguments.integer(name, value, least=1)


def _backend(name: str, value: object) -> str:
    return arguments.choice(name, value, BACKENDS)


def settings(given: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given (`None` means left out), checked, in wire form."""
    checks: dict[str, Callable[[str, object], Any]] = {
        "memory_limit": _memory,
        "disk_limit": _disk,
        "inodes_limit": _inodes,
        "cpu_limit": cpus,
        "pids_limit": _pids,
        "io": _io,
        "network": _network,
        "network_enabled": arguments.boolean,
        "timeout_seconds": arguments.seconds,
        "allow_hosts": arguments.texts,
        "env": arguments.texts,
        "hide": arguments.texts,
        "backend": _backend,
    }
    return {name: checks[name](name, value) for name, value in given.items() if value is not None}
