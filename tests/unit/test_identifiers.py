"""The table of names is Unicode's, and every Python reads it alike."""

from __future__ import annotations

import hashlib
import unicodedata
from itertools import pairwise

import pytest

from common import identifiers, names
from tests import make_identifiers

RUNS = list(zip(*names._runs(), strict=True))
FACTS = "d7eae3b23cd425ea9eb3181d61480296b33e7fcfc5e8b4eb9291b08aa2be408d"
"""Of each character, what is judged by."""
CHARS = [chr(code) for first, last, _ in RUNS for code in range(first, last + 1)]


def test_the_table_is_what_its_script_makes() -> None:
    try:
        icu = make_identifiers.Icu()
    except OSError:
        pytest.skip("there is no libicu72 here")
    assert make_identifiers.make(icu) == make_identifiers.PATH.read_text("utf-8")


def test_runs_are_in_order_and_apart() -> None:
    assert all(one[1] < other[0] for one, other in pairwise(RUNS))
    assert len(CHARS) > 100_000
    assert identifiers.SCRIPTS.isascii()
    assert identifiers.PROTOTYPES.isascii()


def test_only_letters_digits_and_marks_are_allowed() -> None:
    categories = {unicodedata.category(char): char for char in CHARS if char not in "_〇"}
    assert categories.keys() == {"Ll", "Lm", "Lo", "Lt", "Lu", "Mc", "Mn", "Nd"}
    assert all(char.isprintable() for char in CHARS)
    assert [char for char in CHARS if unicodedata.normalize("NFKC", char) != char] == []


def test_what_is_folded_stays_so() -> None:
    for char in CHARS:
        folded = names._folded(char)
        assert names._folded(folded) == folded == unicodedata.normalize("NFC", folded)
        assert names.key(names.key(char)) == names.key(char) == char.casefold()


def test_most_names_need_no_table() -> None:
    ascii_ = {code: shown for code, shown in names._prototypes().items() if code < 0x80}
    assert ascii_ == names._ASCII


def test_every_python_judges_alike() -> None:
    """What a later Unicode says otherwise of these characters would part two members."""
    digest = hashlib.sha256()
    for char in CHARS:
        normal = unicodedata.normalize
        facts = [normal("NFC", char), normal("NFKC", char), normal("NFD", char)]
        facts += [char.casefold(), char.upper(), str(names._is_mark(char))]
        facts += [str(unicodedata.decimal(char, -1)), str(unicodedata.combining(char))]
        digest.update("\n".join(facts).encode())
    assert digest.hexdigest() == FACTS
    for shown in names._prototypes().values():
        assert unicodedata.normalize("NFD", shown) == shown
