"""How cost grows with size: the results of `--search-size`, drawn as an SVG with two logarithmic axes."""

import json
import math
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from bench.report import RESULTS, ROOT

TARGET = ROOT / "docs" / "search-growth.svg"
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 860, 460, 60, 50, 330, 50
_COLOURS = ("#1b6ca8", "#d1495b", "#2e8b57", "#b8860b", "#6a4c93", "#008b8b", "#c04cfd", "#556b2f", "#ff7f50", "#333333")
_TITLE = "p95 of a search in ms, by number of patients (with five times as many other resources)"
SHOWN = (
    "identifier",
    "family prefix",
    "family + birthdate",
    "gender + city + given",
    "_id with _revinclude",
    "chain: observations by code and family",
    "_has: family and a code",
    "page 1,000 by birthdate",
    "name:contains",
    "_total=accurate, half of all patients",
)


def draw() -> Path:
    """Draw the p95 of each search at each size that was measured, and return the file."""
    found = sorted(
        (json.loads(path.read_text())["size"] for path in RESULTS.glob("size-*.json")), key=lambda size: size["patients"]
    )
    if not found:
        raise SystemExit("Nothing has been measured yet: run script/bench --search-size N first.")
    rows = [(size["patients"], row) for size in found for row in size["searches"]]
    lines = {name: [(patients, row["p95"]) for patients, row in rows if row["name"] == name] for name in SHOWN}
    TARGET.write_text(_svg({name: points for name, points in lines.items() if points}))
    return TARGET


def _svg(lines: dict[str, list[tuple[int, float]]]) -> str:
    sizes = [size for points in lines.values() for size, _ in points]
    costs = [cost for points in lines.values() for _, cost in points]
    across = _Axis(min(sizes), max(sizes), _LEFT, _WIDTH - _RIGHT)
    up = _Axis(min(costs), max(costs), _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="24" font-size="15">{_TITLE}</text>',
        *_grid(across, up),
    ]
    for index, (name, points) in enumerate(lines.items()):
        parts += _line(name, points, index, across, up)
    return "\n".join([*parts, "</svg>", ""])


class _Axis:
    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = math.floor(math.log10(low)), math.ceil(math.log10(max(high, low * 10)))
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self._start + share * (self._end - self._start), 1)

    def decades(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def _grid(across: _Axis, up: _Axis) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for value in across.decades():
        x = across.at(value)
        parts.append(f'<path d="M{x} {_TOP}V{bottom}" stroke="#ddd"/>')
        parts.append(f'<text x="{x}" y="{bottom + 20}" text-anchor="middle">{value:,.0f}</text>')
    for value in up.decades():
        y = up.at(value)
        parts.append(f'<path d="M{_LEFT} {y}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{value:g}</text>')
    return parts


def _line(name: str, points: list[tuple[int, float]], index: int, across: _Axis, up: _Axis) -> list[str]:
    colour = _COLOURS[index % len(_COLOURS)]
    placed = [(across.at(size), up.at(cost)) for size, cost in points]
    path = "M" + " L".join(f"{x} {y}" for x, y in placed)
    legend = _TOP + 12 + index * 24
    return [
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>' for x, y in placed),
        f'<rect x="{_WIDTH - _RIGHT + 24}" y="{legend - 9}" width="14" height="5" fill="{colour}"/>',
        f'<text x="{_WIDTH - _RIGHT + 46}" y="{legend - 3}">{escape(name)}: {_text(points[-1][1])} ms</text>',
    ]


def _text(value: float) -> Any:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"  # noqa: PLR2004 -- three digits are shown
