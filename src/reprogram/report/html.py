"""HTML by construction: whatever is not markup already is escaped on its way in."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

VOID = {"br", "img", "meta"}
# `/` after a space, a quote or a single colon, with the folders that follow: an absolute path
FOLDERS = re.compile(r"(?<![\w/.])~?/(?![\s/])(?:[^\s/'\"]+/)*")


class Markup(str):
    """Text that is HTML already."""


def tag(element: str, *children: object, **attributes: object) -> Markup:
    """An element; children and attribute values are escaped, ``None`` leaves either out.

    A name that Python keeps for itself ends in ``_``; other underscores become hyphens.

    Example:
        >>> tag("td", "<b>", 1, class_="class name")
        '<td class="class name">&lt;b&gt;1</td>'
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if element in VOID:
        return Markup(f"<{element}{told}>")
    return Markup(f"<{element}{told}>{join(children)}</{element}>")


def join(children: Iterable[object]) -> Markup:
    """Children one after the other, escaped where they are no markup.

    Example:
        >>> join(["a & b", None, tag("br")])
        'a &amp; b<br>'
    """
    return Markup(
        "".join(
            child if isinstance(child, Markup) else html.escape(str(child))
            for child in children
            if child is not None
        )
    )


def table(head: Sequence[object], rows: Iterable[Sequence[object]], **attributes: object) -> Markup:
    """A table whose rows begin with their name.

    Example:
        >>> table(["", "test"], [["accuracy", "0.9"]])[:46]
        '<div class="scroll"><table><thead><tr><th></th'
    """
    body = [tag("tr", tag("th", first), *(tag("td", c) for c in rest)) for first, *rest in rows]
    top = tag("thead", tag("tr", *(tag("th", cell) for cell in head))) if head else None
    return tag("div", tag("table", top, tag("tbody", *body), **attributes), class_="scroll")


def figure(drawing: object, caption: object, **attributes: object) -> Markup:
    """A drawing with what it shows."""
    return tag("figure", drawing, tag("figcaption", caption), **attributes)


def number(value: object) -> str:
    """A number as a reader wants it: three decimals, thousands apart.

    Example:
        >>> number(0.61838), number(2640), number(1.2e-07), number(True)
        ('0.618', '2,640', '1.2e-07', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        small = value != 0 and abs(value) < 0.001
        return f"{value:.2g}" if small else f"{value:,.3f}"
    return str(value)


def short(value: float) -> str:
    """A bound or a tick: three digits, no more than it needs.

    Example:
        >>> short(1.0), short(-0.25), short(float("inf"))
        ('1', '-0.25', '∞')
    """
    return f"{value:.3g}".replace("inf", "∞")


def without_folders(text: object) -> str:
    """Text whose absolute paths have become names of files: a page is passed on.

    Example:
        >>> without_folders("file /home/me/data/a.csv is not here; see https://arxiv.org/abs/1")
        'file a.csv is not here; see https://arxiv.org/abs/1'
    """
    return FOLDERS.sub("", str(text))
