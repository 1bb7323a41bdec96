"""Tables that read well as text in a terminal and as HTML in a notebook."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

MOST_ROWS = 60
"""Rows that are shown; of a longer table the first and the last."""


@dataclass(frozen=True)
class Table:
    """Rows under column headings, after a line that says what they are."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """Return aligned lines."""
        lines = [self.columns, *_shortened(self.rows, len(self.columns))]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.columns))]
        body = ("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines)
        return "\n".join([self.title, *(line.rstrip() for line in body)])

    def html(self) -> str:
        """Return a title and an HTML table."""
        head = "".join(f'<th style="text-align:left">{escape(name)}</th>' for name in self.columns)
        body = "".join(
            "<tr>" + "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in row) + "</tr>"
            for row in _shortened(self.rows, len(self.columns))
        )
        return f"<p>{escape(self.title)}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def facts(title: str, values: dict[str, str]) -> Table:
    """Return a table of names and values."""
    return Table(title, ("", ""), list(values.items()))


def _shortened(rows: Sequence[Sequence[str]], columns: int) -> list[Sequence[str]]:
    if len(rows) <= MOST_ROWS:
        return list(rows)
    half = MOST_ROWS // 2
    return [*rows[:half], ("…",) * columns, *rows[-half:]]
