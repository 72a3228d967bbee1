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


def size(name: str, value: object) -> str:
    """A size such as `"512m"`: a whole number of bytes, or one with k, m, g or t (powers of 1024)."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return str(value)
    if isinstance(value, str):
        digits = value.strip().lower().rstrip("b").removesuffix("i")
        digits = digits[:-1] if digits[-1:] in ("k", "m", "g", "t") else digits
        if digits.isascii() and digits.isdigit() and int(digits) > 0:
            return value.strip()
    raise arguments.wrong(f"{name} must be a size, not {arguments.show(value)}", hint=f'write {name}="512m"')


def cpus(name: str, value: object) -> str:
    """A number of CPUs such as `"0.5"`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = f"{arguments.number(name, value, above=True):g}"
    if isinstance(value, str):
        whole, _, part = value.strip().partition(".")
        if (whole + part).isascii() and (whole + part).isdigit() and float(value) > 0:
            return value.strip()
    raise arguments.wrong(f"{name} must be a number of CPUs, not {arguments.show(value)}", hint=f'write {name}="0.5"')


def _count(name: str, value: object) -> int:
    return arguments.integer(name, value, least=1)


def _backend(name: str, value: object) -> str:
    return arguments.choice(name, value, BACKENDS)


def settings(given: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given (`None` means left out), checked, in wire form."""
    checks: dict[str, Callable[[str, object], Any]] = {
        "memory_limit": size,
        "disk_limit": size,
        "cpu_limit": cpus,
        "pids_limit": _count,
        "network_enabled": arguments.boolean,
        "timeout_seconds": arguments.seconds,
        "allow_hosts": arguments.texts,
        "env": arguments.texts,
        "hide": arguments.texts,
        "backend": _backend,
    }
    return {name: checks[name](name, value) for name, value in given.items() if value is not None}
