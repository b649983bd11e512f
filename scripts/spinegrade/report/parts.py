"""What a page is made of: sections of figures, tables, notes, cards and annotated images.

Plain data; the templates in resources/report turn it into HTML and escape all text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Cell = str | float | int | None


@dataclass(frozen=True)
class Note:
    """A paragraph of plain text; ``tone`` is ``plain``, ``missing``, ``warning`` or ``heading``."""

    text: str
    tone: str = "plain"
    kind: str = "note"


@dataclass(frozen=True)
class Card:
    """One headline number: what it is, its value as text, and a line that explains it."""

    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Cards:
    """A row of headline numbers."""

    cards: list[Card]
    kind: str = "cards"


@dataclass(frozen=True)
class Figure:
    """A picture as a data URI, what it shows for those who cannot see it, and how to read it."""

    source: str
    alternative: str
    caption: str
    wide: bool = True
    kind: str = "figure"


@dataclass(frozen=True)
class Table:
    """A table: column heads, rows of cells (None shows as a dash), a caption.

    ``fold`` starts it closed behind its caption, for long ones.
    """

    columns: list[str]
    rows: list[list[Cell]]
    caption: str
    fold: bool = False
    kind: str = "table"


@dataclass(frozen=True)
class Mark:
    """One point over a slice, in mm from the centre of the slice's first pixel.

    ``shape`` is ``annotated`` or ``predicted``; ``near`` is false where the point lies on
    another slice than the one shown; ``label`` is drawn beside it, at its right (``anchor``
    ``start``) or left (``end``); ``title`` is shown on hover.
    """

    x: float
    y: float
    shape: str
    label: str
    title: str
    near: bool = True
    anchor: str = "start"


@dataclass(frozen=True)
class Slice:
    """A slice with marks, laid out in mm so that its proportions are the patient's.

    ``left, top, width, height``: the part shown, mm from the centre of the first pixel.
    ``edges``: the patient direction at the left, right, top and bottom edge, one letter each
    (R, L, A, P, H, F). ``links``: lines (x1, y1, x2, y2) from annotated to predicted points.
    ``scale``: size of marks and letters against the picture's width.
    """

    source: str
    title: str
    left: float
    top: float
    width: float
    height: float
    edges: tuple[str, str, str, str]
    marks: list[Mark]
    links: list[tuple[float, float, float, float]]
    scale: float = 1.0


@dataclass(frozen=True)
class Slices:
    """The slices of one study under a heading: sagittal ones, then axial ones."""

    heading: str
    sagittal: list[Slice]
    axial: list[Slice]
    kind: str = "slices"


@dataclass(frozen=True)
class Tile:
    """One crop of a sheet: its place in px of the sheet, the text below it and on hover."""

    x: float
    y: float
    label: str
    title: str


@dataclass(frozen=True)
class Sheet:
    """A contact sheet: one picture of many crops; sizes in px of that picture.

    ``crop``: (width, height) of one crop.
    """

    source: str
    heading: str
    width: float
    height: float
    crop: tuple[int, int]
    tiles: list[Tile]
    kind: str = "sheet"


@dataclass(frozen=True)
class Finding:
    """One cell: likeliest grade (0, 1, 2), the probabilities of the three in percent, their origin.

    ``seen`` false: they are the prior's, and no grade is shown. ``note``: what a reader must know
    of where they come from, often nothing; ``title``, shown on hover, names the members.
    """

    grade: int
    percent: tuple[int, int, int]
    seen: bool
    note: str
    title: str


@dataclass(frozen=True)
class Findings:
    """The cells of one study: a row a level, a column a condition and side.

    ``summary`` says in words what stands out; ``unseen`` how many cells hold the prior alone, and
    nothing where none does.
    """

    study: str
    summary: str
    unseen: str
    columns: list[str]
    rows: list[tuple[str, list[Finding | None]]]
    kind: str = "findings"


Block = Note | Cards | Figure | Table | Slices | Sheet | Findings


@dataclass
class Section:
    """A numbered part of the page; ``key`` is its anchor."""

    key: str
    title: str
    blocks: list[Block] = field(default_factory=list)
