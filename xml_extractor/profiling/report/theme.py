"""Colours, by what they stand for: two sets of them, and the CSS variables and classes that pages use.

A drawing names roles only, so that one SVG serves light and dark.  Text has a contrast of at least 4.5 on
whatever it stands on, and shapes one of 3 (tests compute both).  The colours of series differ for people who
see no red, green or blue as well, and no plot tells anything by colour alone.
"""

from __future__ import annotations

from typing import Final

HEAT_STEPS: Final = 9
"""Colours of a heat map.  More could not be told apart; fewer would hide what differs by a tenth."""

# Ends and middle of the heat scale, from least to most; the steps between are interpolated.
_LIGHT_HEAT: Final = ("#f1f4f8", "#7fb0d8", "#123f73")
_DARK_HEAT: Final = ("#1f2a37", "#2f7fb5", "#d6ecff")

LIGHT: Final = {
    "ground": "#f4f6f9",
    "surface": "#ffffff",
    "raised": "#eef2f6",
    "ink": "#18202c",
    "muted": "#525e6f",
    "grid": "#e1e6ec",
    "axis": "#8a95a5",
    "link": "#1c5bb0",
    "parse": "#2563a8",
    "map": "#0c7a71",
    "blocked": "#b24d0e",
    "idle": "#667080",
    "extra": "#7748a6",
    "on-fill": "#ffffff",
    "good": "#12693f",
    "good-soft": "#e0f3e8",
    "look": "#8a4b00",
    "look-soft": "#fdf0dc",
    "bad": "#a3231c",
    "bad-soft": "#fde6e4",
}
DARK: Final = {
    "ground": "#0e131a",
    "surface": "#161d27",
    "raised": "#1e2733",
    "ink": "#e7ecf3",
    "muted": "#a5b0c0",
    "grid": "#283240",
    "axis": "#718094",
    "link": "#86b7f5",
    "parse": "#6ea8ec",
    "map": "#4cc2b2",
    "blocked": "#f0975a",
    "idle": "#9aa6b6",
    "extra": "#bf9ae8",
    "on-fill": "#0e131a",
    "good": "#7fd8a8",
    "good-soft": "#12301f",
    "look": "#f3bd6a",
    "look-soft": "#33260f",
    "bad": "#ff9d95",
    "bad-soft": "#3b1917",
}


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def luminance(colour: str) -> float:
    """Return the relative luminance of ``#rrggbb``, as WCAG defines it: 0 is black, 1 is white."""
    parts = []
    for channel in _channels(colour):
        part = channel / 255
        parts.append(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def _between(first: str, second: str, share: float) -> str:
    mixed = (
        round(a + (b - a) * share) for a, b in zip(_channels(first), _channels(second), strict=True)
    )  # fmt: skip
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def _heat(ends: tuple[str, str, str]) -> dict[str, str]:
    """Return the steps of a heat scale, and for each black or white, whichever can be read on it."""
    made = {}
    for step in range(HEAT_STEPS):
        place = 2 * step / (HEAT_STEPS - 1)
        first = min(int(place), 1)
        colour = _between(ends[first], ends[first + 1], place - first)
        made[f"heat-{step}"] = colour
        # At this luminance black and white can be read equally well.
        made[f"on-heat-{step}"] = "#ffffff" if luminance(colour) < 0.179 else "#000000"
    return made


LIGHT.update(_heat(_LIGHT_HEAT))
DARK.update(_heat(_DARK_HEAT))
ROLES: Final = tuple(LIGHT)


def theme_css() -> str:
    """Return the CSS of both themes: the system's choice, unless ``data-theme`` of the page differs."""
    light, dark = _variables(LIGHT), _variables(DARK)
    classes = "".join(f".f-{role}{{fill:var(--{role})}}.s-{role}{{stroke:var(--{role})}}" for role in ROLES)
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        # Paper is white whatever the screen shows.
        f"@media print{{:root:root:root{{color-scheme:light;{light}}}}}\n"
        f"{classes}\n"
    )


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{role}:{colour};" for role, colour in colours.items())
