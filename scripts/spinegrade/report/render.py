"""Sections to one self-contained HTML page."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from spinegrade.report.captions import RESOURCES
from spinegrade.report.parts import Section
from spinegrade.report.style import GRADE_WORDS
from spinegrade.runtime.files import write_text

_LOGGER = logging.getLogger("spinegrade")


def write_sections(path: str, sections: list[Section], title: str, lead: str, rule: str) -> None:
    """Write the page of ``sections`` to ``path``; every text on it is escaped.

    ``lead`` stands under the title; ``rule`` is named in the footer as the page's maker.
    """
    environment = Environment(
        loader=FileSystemLoader(RESOURCES / "report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    html = environment.get_template("page.html.j2").render(
        sections=sections,
        title=title,
        lead=lead,
        footer=f"Written {now} by spinegrade's rule {rule}. This file needs no network.",
        grade_words=GRADE_WORDS,
    )
    write_text(path, html)
    _LOGGER.info("%s: %.1f MB", path, len(html.encode()) / 1e6)
