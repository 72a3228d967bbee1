"""The arrows of the crate map point inwards.

ARCHITECTURE.md draws `core <- {store, sandbox, gateway, data, egress} <- {engine, proxy, e2b} <- wflo`. A crate may
depend on crates of a lower layer only; two crates of one layer never on each other. Tests may
also use `wflo-testkit`, which stands on `wflo-core` alone.
"""

import tomllib
from pathlib import Path

LAYERS = [
    {"wflo-core"},
    {"wflo-store", "wflo-sandbox", "wflo-gateway", "wflo-data", "wflo-egress", "wflo-events"},
    {"wflo-engine", "wflo-proxy", "wflo-e2b", "wflo-temporal"},
    {"wflo-api"},
    {"wflo"},
]
TESTKIT = "wflo-testkit"
# Pure: what does I/O, tells the time or draws randomness has no place in wflo-core.
NOT_IN_CORE = {
    "tokio",
    "hyper",
    "rusqlite",
    "rustix",
    "libc",
    "futures-util",
    "tempfile",
    "getrandom",
    "rand",
}


def layer_of(name: str) -> int | None:
    return next((i for i, layer in enumerate(LAYERS) if name in layer), None)


def dependencies(manifest: dict[str, object], kinds: tuple[str, ...]) -> set[str]:
    """The names a manifest depends on, its `[target.…]` tables included."""
    tables = [manifest, *manifest.get("target", {}).values()]  # type: ignore[union-attr]
    return {name for table in tables for kind in kinds for name in table.get(kind, {})}


def findings(name: str, manifest: dict[str, object]) -> list[str]:
    place = f"crates/{name}/Cargo.toml"
    real = dependencies(manifest, ("dependencies", "build-dependencies"))
    test = dependencies(manifest, ("dev-dependencies",))
    found: list[str] = []
    if name == TESTKIT:
        wrong = {d for d in real if d.startswith("wflo") and d != "wflo-core"}
        return [f"{place}: the testkit may stand on wflo-core only, not on {d}" for d in sorted(wrong)]
    own = layer_of(name)
    if own is None:
        return [f"{place}: {name} has no layer; draw it in ARCHITECTURE.md and in scripts/checks/crate_map.py"]
    if TESTKIT in real:
        found.append(f"{place}: {TESTKIT} belongs under [dev-dependencies]")
    for dep in sorted(real | test):
        other = layer_of(dep)
        if other is not None and other >= own:
            found.append(f"{place}: {name} (layer {own}) may not depend on {dep} (layer {other}): arrows point inwards")
    if name == "wflo-core":
        found += [f"{place}: wflo-core is pure and may not depend on {d}" for d in sorted(real & NOT_IN_CORE)]
    return found


def check(root: Path) -> list[str]:
    found: list[str] = []
    for path in sorted((root / "crates").glob("*/Cargo.toml")):
        manifest = tomllib.loads(path.read_text())
        name = manifest["package"]["name"]
        if name != path.parent.name:
            found.append(f"{path.relative_to(root)}: the package {name} must stand in crates/{name}")
        found += findings(name, manifest)
    return found
