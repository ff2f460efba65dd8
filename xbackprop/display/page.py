"""Write pages as one HTML file that needs no other files, in one style."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Sequence
from importlib.resources import files

CSS = files(__package__).joinpath("page.css").read_text("utf-8")


def html_page(title: str, parts: Iterable[str], script: str = "") -> str:
    """Return a page with this title, out of elements as text."""
    after = f"<script>{script}</script>" if script else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(title)}</title><style>{CSS}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + f"\n</main>{after}</body></html>\n"
    )


def clean(text: str) -> str:
    """Remove line breaks, tabs and terminal codes, since names and reasons may come from other people's code."""
    return "".join(c if c.isprintable() else " " for c in text)


def escaped(text: str) -> str:
    """Return text as HTML shows it."""
    return html.escape(clean(text))


def facts(pairs: Iterable[tuple[str, str]], kind: str = "facts") -> str:
    """Return a list of names and values; of kind "words" for longer values."""
    inside = "".join(f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in pairs)
    return f"<dl class={kind}>{inside}</dl>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], text: Collection[int] = (0,)) -> str:
    """Return a table of texts; `text` has the numbers of the columns that are set to the left."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=text' if j in text else ''}>{escaped(cell)}</{tag}>" for j, cell in enumerate(cells)
        )

    lines = "\n".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{line(head, "th")}</tr></thead>\n<tbody>{lines}</tbody></table></div>'
    )
