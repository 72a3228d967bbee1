"""Prometheus' text format 0.0.4, read by the letter: what a scraper would drop or guess at is refused.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import re
from dataclasses import dataclass, field

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
VALUE = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?Inf|NaN")
ESCAPES = {"\\": "\\", '"': '"', "n": "\n"}
Labels = frozenset[tuple[str, str]]


@dataclass
class Family:
    """One metric: its type, and its samples by name and labels."""

    kind: str
    help: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def value(self, name: str, **labels: str) -> float:
        """The sample with these labels; -1 when there is none."""
        return self.samples.get((name, frozenset(labels.items())), -1)


def labels_of(text: str) -> tuple[dict[str, str], str]:
    """The labels behind an opening brace, and what follows the closing one."""
    found: dict[str, str] = {}
    at = 0
    while True:
        name = LABEL.match(text, at)
        assert name, f"no label name: {text[at:]!r}"
        at = name.end()
        assert text[at : at + 2] == '="', text[at:]
        at += 2
        value = ""
        while text[at] != '"':
            if text[at] == "\\":
                value += ESCAPES[text[at + 1]]
                at += 1
            else:
                value += text[at]
            at += 1
        at += 1
        assert name.group() not in found, f"a label twice: {text}"
        found[name.group()] = value
        if text[at] == "}":
            return found, text[at + 1 :]
        assert text[at] == ",", text[at:]
        at += 1


def parse(page: str) -> dict[str, Family]:
    """Every metric of the page.

    Raises AssertionError for whatever the format does not allow.
    """
    assert page.endswith("\n"), "the last line ends too"
    families: dict[str, Family] = {}
    helps: dict[str, str] = {}
    current = ""
    for line in page.splitlines():
        if line.startswith("# HELP "):
            name, text = line[7:].split(" ", 1)
            assert name not in helps and text, line
            helps[name] = text
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name not in families, f"its lines are in two places: {name}"
            assert kind in {"counter", "gauge", "histogram"}, line
            assert NAME.fullmatch(name), line
            assert (kind == "counter") == name.endswith("_total"), f"{name} is no name of a {kind}"
            families[name] = Family(kind, helps[name])
            current = name
        else:
            sample = NAME.match(line)
            assert sample, line
            rest, labels = line[sample.end() :], {}
            if rest.startswith("{"):
                labels, rest = labels_of(rest[1:])
            assert rest.startswith(" ") and VALUE.fullmatch(rest[1:]), line
            family = families[current]
            parts = {current + part for part in ("_bucket", "_sum", "_count")}
            assert sample.group() in (parts if family.kind == "histogram" else {current}), (
                f"not under {current}: {line}"
            )
            key = (sample.group(), frozenset(labels.items()))
            assert key not in family.samples, f"twice: {line}"
            family.samples[key] = float(rest[1:])
            assert family.kind == "gauge" or family.samples[key] >= 0, line
    for name, family in families.items():
        if family.kind == "histogram":
            cumulative(name, family)
    return families


def cumulative(name: str, family: Family) -> None:
    """Buckets ascend and end with the count."""
    series: dict[Labels, list[tuple[float, float]]] = {}
    for (part, labels), value in family.samples.items():
        if part == f"{name}_bucket":
            bound = float(dict(labels)["le"])
            rest = frozenset(pair for pair in labels if pair[0] != "le")
            series.setdefault(rest, []).append((bound, value))
    for labels, buckets in series.items():
        buckets.sort()
        counts = [count for _, count in buckets]
        assert counts == sorted(counts), (name, labels)
        assert buckets[-1][0] == float("inf"), (name, labels)
        assert counts[-1] == family.samples[(f"{name}_count", labels)], (name, labels)
        assert (f"{name}_sum", labels) in family.samples, (name, labels)
