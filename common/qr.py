"""A QR code (ISO/IEC 18004) in half blocks, by `segno`, which is there only if it was installed."""

from __future__ import annotations

import sys

from common.errors import UsageError

_HALVES = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}
"""By the upper and the lower module: a dark one is the terminal's background, as on most it is."""
BORDER = 4
"""Light modules around it, which ISO/IEC 18004 asks for."""


def check() -> None:
    """Find the package.

    Raises:
        UsageError: if it is not there.
    """
    try:
        # Here, because few want it.
        import segno  # noqa: F401
    except ImportError:
        raise UsageError(
            f"A QR code needs the package segno. Run: {sys.executable} -m pip install segno"
        ) from None


def rows(text: str) -> list[str]:
    """Return the rows of a code, each of the same width.

    Raises:
        UsageError: if the package is not there.
    """
    check()
    import segno

    code = segno.make_qr(text, error="l")
    modules = [list(map(bool, row)) for row in code.matrix_iter(border=BORDER)]
    if len(modules) % 2:
        modules.append([False] * len(modules[0]))
    pairs = zip(modules[::2], modules[1::2], strict=True)
    return ["".join(_HALVES[pair] for pair in zip(*two, strict=True)) for two in pairs]
