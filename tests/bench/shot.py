"""Draw `screen.svg`: a real relay and three real clients on pseudo-terminals, and what one shows.

Run `.venv/bin/python tests/bench/shot.py`. The screen is read back cell by cell through pyte; only
the plot is made up. The colours of names are the client's, legible on both backgrounds (UX.md 5).
"""

from __future__ import annotations

import sys
import tempfile
from html import escape
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from tests.e2e.harness import House, Screen  # noqa: E402 - the project is no package

ROWS, COLUMNS = 24, 80
CELL_WIDTH, CELL_HEIGHT, MARGIN = 8.4, 18, 12
MAX_BYTES = 60 * 1024
PATH = Path(__file__).with_name("screen.svg")
STYLE = """
svg{--back:#fff;--front:#1f2328}
@media(prefers-color-scheme:dark){svg{--back:#0d1117;--front:#e6edf3}}
text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
fill:var(--front);white-space:pre}
.back{fill:var(--back)}.bar{fill:var(--front)}.turned{fill:var(--back)}
.bold{font-weight:700}.dim{opacity:.6}.under{text-decoration:underline}
""".strip()


class Cell:
    """One cell as pyte holds it."""

    def __init__(self, screen: Screen, row: int, column: int) -> None:
        cell = screen.terminal._cells.buffer[row][column]
        self.text: str = cell.data
        self.style = (cell.fg, bool(cell.bold), bool(cell.reverse), bool(cell.underscore))


def act(house: House) -> Screen:
    """Play the scene, and return the screen of ace."""
    relay = house.relay()
    ace = house.screen(relay, "ace")
    ace.wait_for("1 here")
    bea = house.screen(relay, "bea")
    ace.wait_for("bea joined")
    bea.wait_for("2 here")
    talk(bea, ace, "morning! the deploy is at three, notes are in https://example.org/wiki/deploy")
    talk(ace, bea, "thanks, I read them on the train")
    carol = house.screen(relay, "carol")
    bea.wait_for("carol joined")
    carol.wait_for("3 here")
    talk(carol, ace, "日本語もOK 👍 then more text that is wrapped at a space and continues under")
    talk(bea, ace, "/me waves")
    talk(bea, ace, "is the red build known?")
    ace.type("\x1b[O")  # looks elsewhere
    talk(carol, ace, "it is the cache again, I am on it")
    talk(bea, ace, "ace: can you look at it too?")
    talk(carol, ace, "half of it is green by now ✅")
    ace.type("\x1b[I")
    ace.type("give me a minute, I am look")
    ace.wait_for("I am look")
    return ace


def talk(speaker: Screen, reader: Screen, content: str) -> None:
    """Say something, and wait until it is read."""
    speaker.say(content)
    seen = content.removeprefix("/me ")[:14]
    reader.wait_for(seen)


def draw(screen: Screen) -> str:
    """Return the screen as SVG, a run of cells of one style at a time."""
    width = COLUMNS * CELL_WIDTH + 2 * MARGIN
    height = ROWS * CELL_HEIGHT + 2 * MARGIN
    shapes, texts = [], []
    for row in range(ROWS):
        column = 0
        y = MARGIN + row * CELL_HEIGHT
        while column < COLUMNS:
            first = Cell(screen, row, column)
            run, end = [first.text], column + 1
            # A wide character begins a run, so that no font can move what follows it.
            while end < COLUMNS:
                cell = Cell(screen, row, end)
                is_half = not cell.text  # of the wide character before it
                if cell.style != first.style or not (is_half or (first.text + cell.text).isascii()):
                    break
                run.append(cell.text)
                end += 1
            shapes += bar(first, column, end, y)
            texts += text(first, "".join(run), column, y)
            column = end
    row, column = screen.terminal.cursor
    x, y = MARGIN + column * CELL_WIDTH, MARGIN + row * CELL_HEIGHT
    shapes.append(f'<rect class="bar" x="{x:.1f}" y="{y}" width="8.4" height="{CELL_HEIGHT}"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img" '
        'xml:space="preserve">'
        f"<title>A termchat room in a terminal</title><style>{STYLE}</style>\n"
        f'<rect class="back" width="{width:.0f}" height="{height}" rx="8"/>\n'
        + "\n".join([*shapes, *texts])
        + "\n</svg>\n"
    )


def bar(cell: Cell, column: int, end: int, y: int) -> list[str]:
    if not cell.style[2]:
        return []
    x, width = MARGIN + column * CELL_WIDTH, (end - column) * CELL_WIDTH
    return [f'<rect class="bar" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{CELL_HEIGHT}"/>']


def text(cell: Cell, content: str, column: int, y: int) -> list[str]:
    if not content.strip():
        return []
    colour, is_bold, is_reverse, is_underlined = cell.style
    names = {"bold": is_bold, "turned": is_reverse, "under": is_underlined}
    classes = " ".join(name for name, is_set in names.items() if is_set)
    shown = content.strip()
    column += len(content) - len(content.lstrip())
    attributes = f' class="{classes}"' if classes else ""
    if colour != "default" and not is_reverse:
        attributes += f' style="fill:#{colour}"'
    cells = len(shown) if shown.isascii() else 2
    attributes += f' textLength="{cells * CELL_WIDTH:.1f}"'
    x = MARGIN + column * CELL_WIDTH
    return [f'<text x="{x:.1f}" y="{y + 14}"{attributes}>{escape(shown)}</text>']


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        try:
            screen = act(house)
            picture = draw(screen)
            screen.terminal.raw.clear()  # the bell of the mention is no fault here
        finally:
            house.close()
    assert len(picture.encode()) <= MAX_BYTES
    PATH.write_text(picture)
    print(f"{PATH.name}: {len(picture.encode())} bytes")


if __name__ == "__main__":
    main()
