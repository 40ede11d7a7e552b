"""What common.view.screen makes of the name of a terminal's type."""

from __future__ import annotations

import pytest

from common.view.output import kin as kin_of


@pytest.mark.parametrize(
    ("name", "kin"),
    [
        ("xterm-kitty", ["xterm-256color", "xterm"]),
        ("xterm-ghostty", ["xterm-256color", "xterm"]),
        ("alacritty", ["xterm-256color", "xterm"]),
        ("alacritty-direct", [
            "alacritty-256color", "alacritty", "xterm-256color", "xterm",
        ]),
        ("tmux-of-tomorrow", [
            "tmux-of-256color", "tmux-of", "tmux-256color", "tmux", "xterm-256color", "xterm",
        ]),
        ("screen.xterm-new", [
            "screen.xterm-256color", "screen.xterm", "screen-256color", "screen", "xterm-256color",
            "xterm",
        ]),
        ("linux-16color", ["linux-256color", "linux"]),
        ("vt52", []),
        ("no-such-terminal", ["no-such-256color", "no-such", "no-256color", "no"]),
    ],
)  # fmt: skip
def test_who_stands_in_for_a_type_is_of_its_family(name: str, kin: list[str]) -> None:
    assert list(kin_of(name)) == [name, *kin]
