"""Draw what a client shows: real relays and clients on pseudo-terminals, read back cell by cell.

Run `.venv/bin/python tests/bench/shot.py` for `screen.svg`, the picture in README, or with a folder
for ten states besides, each at 80x24 and 40x10, dark and light. Only the plots are made up. The
colours of names are the client's, legible on both backgrounds (UX.md 5).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from html import escape
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from tests.e2e.harness import Bot, House, Screen  # noqa: E402 - the project is no package

SIZES = ((24, 80), (10, 40))
CELL_WIDTH, CELL_HEIGHT, MARGIN = 8.4, 18, 12
MAX_BYTES = 60 * 1024
PATH = Path(__file__).with_name("screen.svg")
FONT = 'ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace'
BACK, FRONT = ("#ffffff", "#0d1117"), ("#1f2328", "#e6edf3")
"""Light, and dark."""
ANSI = {"red": "d03030", "green": "2f8f2f", "brown": "a06a00", "blue": "3068d0"} | {
    "magenta": "c030a0",
    "cyan": "158f8f",
}
"""What terminals choose themselves."""
# Light by plain attributes, so that nothing is black on black where a renderer knows no schemes.
STYLE = f"@media(prefers-color-scheme:dark){{.front{{fill:{FRONT[1]}}}.back{{fill:{BACK[1]}}}}}"


class Cell:
    """One cell as pyte holds it."""

    def __init__(self, screen: Screen, row: int, column: int) -> None:
        cell = screen.terminal._cells.buffer[row][column]
        self.text: str = cell.data
        self.colour: str = cell.fg
        self.is_bold, self.is_reverse = bool(cell.bold), bool(cell.reverse)
        self.is_underlined, self.is_dim = bool(cell.underscore), bool(cell.blink)

    @property
    def style(self) -> tuple[object, ...]:
        return (self.colour, self.is_bold, self.is_reverse, self.is_underlined, self.is_dim)


# --- The plots.


def talk(speaker: Bot, reader: Screen, content: str) -> None:
    """Say something, and wait until it is read."""
    speaker.say(content)
    reader.wait_for(content.removeprefix("/me ").partition("\n")[0][:10])


def to(bot: Bot, name: str, content: str) -> None:
    """Say something to one alone."""
    (peer,) = (peer for peer in bot.conversation.peers.values() if peer.name == name)
    bot.conversation.say(content, peer)


class Scene:
    """A room with one screen in it."""

    def __init__(self, house: House, rows: int, columns: int) -> None:
        self.house = house
        self.relay = house.relay()
        self.bea = house.bot(self.relay, "bea")
        self.carol = house.bot(self.relay, "carol")
        self.ace = house.screen(self.relay, "ace", rows=rows, columns=columns)
        self.ace.may_ring = True
        self.ace.wait_for("not shown to")

    def chat(self) -> None:
        talk(self.bea, self.ace, "morning! notes are in https://example.org/wiki/deploy")
        self.ace.say("thanks, I read them on the train")
        talk(self.carol, self.ace, "日本語もOK 👍 then more text that is wrapped at a space")
        talk(self.bea, self.ace, "/me waves")

    def look_away(self) -> None:
        self.ace.type("\x1b[O")
        talk(self.carol, self.ace, "it is the cache again, I am on it")
        talk(self.bea, self.ace, "ace: can you look at it too?")
        self.ace.type("\x1b[I")


def first(scene: Scene) -> None:
    scene.ace.wait_for("ace")


def speech(scene: Scene) -> None:
    scene.chat()
    scene.look_away()
    scene.ace.type("give me a minute, I am look")
    scene.ace.wait_for("I am look")


def private(scene: Scene) -> None:
    scene.chat()
    to(scene.bea, "ace", "the door code is on the board")
    scene.ace.wait_for("door code")
    scene.ace.say("/msg bea I saw it")
    scene.ace.wait_for("to bea: I saw")
    talk(scene.carol, scene.ace, "anybody for lunch?")
    scene.ace.type("/msg bea shall we")
    scene.ace.wait_for("shall we")


def refused(scene: Scene) -> None:
    scene.chat()
    scene.ace.say("/msg nobody hi")
    scene.house.until(lambda: "Nobody here is" in "".join(scene.ace.display[:-2]))


def helping(scene: Scene) -> None:
    scene.ace.say("/help")
    scene.ace.wait_for("exit leaves")


def security(scene: Scene) -> None:
    scene.chat()
    scene.ace.say("/help security")
    scene.ace.wait_for("First seen is no")


def scrolled(scene: Scene) -> None:
    scene.chat()
    for number in range(30):
        scene.bea.say(f"line {number} of many")
    scene.ace.wait_for("line 29 of")
    scene.ace.type("\x1b[5~")
    scene.ace.wait_for("line 29 of", gone=True)
    scene.carol.say("below")
    scene.ace.wait_for("1 new below")


def long(scene: Scene) -> None:
    scene.chat()
    scene.bea.say("\n".join(f"row {number} of a long message" for number in range(40)))
    scene.ace.wait_for("more rows")


def changed(scene: Scene) -> None:
    scene.chat()
    scene.bea.leave()
    scene.ace.wait_for("bea left")
    scene.house.bot(scene.relay, "bea")
    scene.ace.wait_for("1 changed key")


def offline(scene: Scene) -> None:
    scene.chat()
    scene.relay.stop()
    scene.ace.wait_for("Connection lost.")
    scene.ace.say("are you still there?")
    scene.ace.wait_for("1 waiting")
    scene.ace.wait_for("there? ")


STATES: dict[str, Callable[[Scene], None]] = {
    "01-first": first,
    "02-speech": speech,
    "03-private": private,
    "04-refused": refused,
    "05-help": helping,
    "06-security": security,
    "07-scrolled": scrolled,
    "08-long": long,
    "09-changed": changed,
    "10-offline": offline,
}


# --- The picture.


def draw(screen: Screen, rows: int, columns: int, *, is_dark: bool, follows: bool) -> str:
    """Return the screen as SVG, a run of cells of one style at a time.

    follows: whether it follows the scheme of who looks at it.
    """
    width = columns * CELL_WIDTH + 2 * MARGIN
    height = rows * CELL_HEIGHT + 2 * MARGIN
    shapes, texts = [], []
    for row in range(rows):
        column = 0
        y = MARGIN + row * CELL_HEIGHT
        while column < columns:
            first = Cell(screen, row, column)
            run, end = [first.text], column + 1
            # A wide character begins a run, so that no font can move what follows it.
            while end < columns:
                cell = Cell(screen, row, end)
                is_half = not cell.text  # of the wide character before it
                if cell.style != first.style or not (is_half or (first.text + cell.text).isascii()):
                    break
                run.append(cell.text)
                end += 1
            if first.is_reverse:
                cells = (end - column) * CELL_WIDTH
                shapes.append(bar(MARGIN + column * CELL_WIDTH, y, cells, is_dark=is_dark))
            texts += text(first, "".join(run), column, y, is_dark=is_dark)
            column = end
    row, column = screen.terminal.cursor
    cursor = MARGIN + column * CELL_WIDTH, MARGIN + row * CELL_HEIGHT
    shapes.append(bar(*cursor, CELL_WIDTH, is_dark=is_dark))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img" '
        f'width="{width:.0f}" height="{height}" xml:space="preserve" font-size="14" '
        f"font-family='{FONT}'>"
        "<title>A termchat room in a terminal</title>"
        + (f"<style>{STYLE}</style>\n" if follows else "\n")
        + f'<rect class="back" fill="{BACK[is_dark]}" width="{width:.0f}" height="{height}" '
        'rx="8"/>\n' + "\n".join([*shapes, *texts]) + "\n</svg>\n"
    )


def bar(x: float, y: float, width: float, *, is_dark: bool) -> str:
    return (
        f'<rect class="front" fill="{FRONT[is_dark]}" x="{x:.1f}" y="{y}" width="{width:.1f}" '
        f'height="{CELL_HEIGHT}"/>'
    )


def text(cell: Cell, content: str, column: int, y: int, *, is_dark: bool) -> list[str]:
    if not content.strip():
        return []
    shown = content.strip()
    column += len(content) - len(content.lstrip())
    if cell.is_reverse:
        attributes = f'class="back" fill="{BACK[is_dark]}"'
    elif cell.colour == "default":
        attributes = f'class="front" fill="{FRONT[is_dark]}"'
    else:
        attributes = f'fill="#{ANSI.get(cell.colour, cell.colour)}"'
    attributes += ' font-weight="bold"' if cell.is_bold else ""
    attributes += ' opacity="0.6"' if cell.is_dim else ""
    attributes += ' text-decoration="underline"' if cell.is_underlined else ""
    cells = len(shown) if shown.isascii() else 2
    x = MARGIN + column * CELL_WIDTH
    length = f'textLength="{cells * CELL_WIDTH:.1f}"'
    return [f'<text x="{x:.1f}" y="{y + 14}" {attributes} {length}>{escape(shown)}</text>']


def main(arguments: list[str]) -> None:
    states = STATES if arguments else {"02-speech": STATES["02-speech"]}
    for name, act in states.items():
        for rows, columns in SIZES if arguments else SIZES[:1]:
            with tempfile.TemporaryDirectory() as folder:
                house = House(Path(folder))
                try:
                    scene = Scene(house, rows, columns)
                    act(scene)
                    if name == "02-speech" and columns == 80:
                        picture = draw(scene.ace, rows, columns, is_dark=False, follows=True)
                        assert len(picture.encode()) <= MAX_BYTES
                        PATH.write_text(picture)
                        print(f"{PATH.name}: {len(picture.encode())} bytes")
                    for is_dark in (False, True) if arguments else ():
                        path = Path(arguments[0], f"{name}-{columns}x{rows}")
                        shade = "dark" if is_dark else "light"
                        picture = draw(scene.ace, rows, columns, is_dark=is_dark, follows=False)
                        path.with_name(f"{path.name}-{shade}.svg").write_text(picture)
                finally:
                    house.close()


if __name__ == "__main__":
    main(sys.argv[1:])
