"""The look of the figures, and pictures as data URIs that travel inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from spinegrade.regions.lumbar_mri import FORAMINAL, SPINAL, SUBARTICULAR

matplotlib.use("Agg")

# Okabe and Ito's colours (2008), told apart by most colour-blind readers.
RUN = "#0072B2"
PRIOR = "#777777"
FLOOR = "#009E73"
SECOND = "#D55E00"
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GRADE_COLOURS = ("#7FB2D6", "#E69F00", "#B2182B")
INK = "#222222"

CONDITION_WORDS = {
    SPINAL: "Spinal canal stenosis",
    FORAMINAL: "Neural foraminal narrowing",
    SUBARTICULAR: "Subarticular stenosis",
}
GRADE_WORDS = ("normal or mild", "moderate", "severe")

_RC = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "text.color": INK,
    "svg.fonttype": "path",
    "svg.hashsalt": "spinegrade",
}


def level_word(level: str) -> str:
    """``l4_l5`` -> ``L4/L5``; ``c3`` -> ``C3``."""
    return level.upper().replace("_", "/")


def cell_word(level: str, side: str) -> str:
    """``l4_l5``, ``left`` -> ``L4/L5 left``; central cells are named by level alone."""
    return level_word(level) if side == "central" else f"{level_word(level)} {side}"


@contextmanager
def canvas(width: float, height: float) -> Iterator[Canvas]:
    """A matplotlib figure in the page's style, ``width`` by ``height`` inches."""
    with matplotlib.rc_context(_RC):
        yield Canvas(figsize=(width, height), layout="constrained")


def svg_uri(figure: Canvas) -> str:
    """The figure as an SVG data URI: sharp at any size, the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _uri("image/svg+xml", buffer.getvalue())


def gray_uri(image: NDArray[np.uint8], longest_px: int = 640, quality: int = 82) -> str:
    """A gray (rows, cols) uint8 image as a WebP data URI, made smaller to ``longest_px``."""
    scale = longest_px / max(image.shape)
    if scale < 1.0:
        size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, encoded = cv2.imencode(
        ".webp", np.ascontiguousarray(image), [cv2.IMWRITE_WEBP_QUALITY, quality]
    )
    assert done, "OpenCV without a WebP encoder"
    return _uri("image/webp", encoded.tobytes())


def file_uri(content: bytes) -> str:
    """The content of a PNG file as a data URI."""
    return _uri("image/png", content)


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
