"""What Matplotlib has drawn, as a picture and as data.

The data are those of E2B's charts: titles, labels, scales, and what each line, point, bar, slice or box stands for.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import os
import sys
from typing import Any

# A module that Matplotlib finds under this name draws for it.
BACKEND = "wflo_drawing"
SCALES = ("linear", "datetime", "categorical", "log", "symlog", "logit", "function", "functionlog", "asinh")


class Drawing:
    """Makes the module when Matplotlib asks for it, of the one that draws into memory."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return importlib.util.spec_from_loader(name, self) if name == BACKEND else None

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        from matplotlib.backends import backend_agg  # pyright: ignore[reportMissingImports]

        own = {name: value for name, value in vars(backend_agg).items() if not name.startswith("__")}
        module.__dict__.update(own, show=lambda *_, **__: self.kernel.figures())


def draw_for(kernel: Any) -> None:
    """Makes Matplotlib draw into memory, and `show` show what was drawn."""
    sys.meta_path.append(Drawing(kernel))  # type: ignore[arg-type]
    os.environ.setdefault("MPLBACKEND", f"module://{BACKEND}")


def png(figure: Any) -> str:
    """The figure as a picture, in Base64."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", bbox_inches="tight")
    return base64.b64encode(picture.getvalue()).decode()


def chart(figure: Any) -> dict[str, Any] | None:
    """The figure as data; one of several axes is several charts."""
    try:
        charts = [found for axes in figure.axes if (found := of_axes(axes))]
    except Exception:
        return None
    if len(charts) < 2:
        return charts[0] if charts else None
    title = figure._suptitle.get_text() if getattr(figure, "_suptitle", None) else None
    return {"type": "superchart", "title": title, "elements": charts}


def of_axes(axes: Any) -> dict[str, Any] | None:
    from matplotlib.patches import Rectangle, Wedge  # pyright: ignore[reportMissingImports]

    title = axes.get_title()
    wedges = [patch for patch in axes.patches if isinstance(patch, Wedge)]
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    lines = [line for line in axes.lines if line.get_visible()]
    points = [drawn for drawn in axes.collections if hasattr(drawn, "get_offsets") and len(drawn.get_offsets())]
    plane = {"title": title, **labels(axes)}
    if wedges:
        return {"type": "pie", "title": title, "elements": slices(axes, wedges)}
    if is_of_boxes(axes, lines):
        return {"type": "box_and_whisker", **plane, "elements": boxes(axes, lines)}
    if bars:
        return {"type": "bar", **plane, "elements": of_bars(axes, bars)}
    if points:
        elements = [{"label": name(drawn), "points": plain(drawn.get_offsets())} for drawn in points]
        return {"type": "scatter", **plane, **ticks(axes), "elements": elements}
    if lines:
        elements = [
            {"label": name(line), "points": plain(zip(line.get_xdata(orig=True), line.get_ydata(orig=True)))}
            for line in lines
        ]
        return {"type": "line", **plane, **ticks(axes), "elements": elements}
    return None


def name(drawn: Any) -> str:
    label = str(drawn.get_label())
    return "" if label.startswith("_") else label


def simple(value: Any) -> Any:
    """A number or a text."""
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, (int, float, str)) else str(value)


def plain(pairs: Any) -> list[list[Any]]:
    return [[simple(x), simple(y)] for x, y in pairs]


def labels(axes: Any) -> dict[str, Any]:
    def one(label: str) -> tuple[str, str | None]:
        if label.endswith(")") and "(" in label:
            unit = label[label.rindex("(") + 1 : -1]
            return label, unit
        return label, None

    (x, x_unit), (y, y_unit) = one(axes.get_xlabel()), one(axes.get_ylabel())
    return {"x_label": x or None, "y_label": y or None, "x_unit": x_unit, "y_unit": y_unit}


def ticks(axes: Any) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for letter, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        scale = axis.get_scale()
        converter = type(axis.get_converter() if hasattr(axis, "get_converter") else axis.converter).__name__
        if "Date" in converter:
            scale = "datetime"
        elif "Category" in converter:
            scale = "categorical"
        told[f"{letter}_ticks"] = [simple(tick) for tick in axis.get_ticklocs()]
        told[f"{letter}_tick_labels"] = [label.get_text() for label in axis.get_ticklabels()]
        told[f"{letter}_scale"] = scale if scale in SCALES else "unknown"
    return told


def slices(axes: Any, wedges: list[Any]) -> list[dict[str, Any]]:
    return [
        {"label": name(wedge), "angle": float(abs(wedge.theta2 - wedge.theta1)), "radius": float(wedge.r)}
        for wedge in wedges
    ]


def of_bars(axes: Any, bars: list[Any]) -> list[dict[str, Any]]:
    texts = {round(tick, 6): label.get_text() for tick, label in zip(axes.get_xticks(), axes.get_xticklabels())}
    groups = {id(bar): name(container) for container in axes.containers for bar in container}
    elements = []
    for bar in bars:
        middle = bar.get_x() + bar.get_width() / 2
        label = texts.get(round(middle, 6)) or str(simple(middle))
        elements.append({"label": label, "group": groups.get(id(bar), ""), "value": simple(bar.get_height())})
    return elements


def is_of_boxes(axes: Any, lines: list[Any]) -> bool:
    """`boxplot` draws seven lines a box: the box, two whiskers, two caps, the median, the outliers."""
    return len(lines) >= 7 and len(lines) % 7 == 0 and len(lines[0].get_xdata()) == 5


def boxes(axes: Any, lines: list[Any]) -> list[dict[str, Any]]:
    texts = [label.get_text() for label in axes.get_xticklabels()]
    elements = []
    for at in range(0, len(lines), 7):
        box, low, high, _, _, median, outliers = lines[at : at + 7]
        heights = sorted(float(height) for height in box.get_ydata())
        elements.append(
            {
                "label": texts[at // 7] if at // 7 < len(texts) else "",
                "min": float(min(low.get_ydata())),
                "first_quartile": heights[0],
                "median": float(median.get_ydata()[0]),
                "third_quartile": heights[-1],
                "max": float(max(high.get_ydata())),
                "outliers": [float(height) for height in outliers.get_ydata()],
            }
        )
    return elements
