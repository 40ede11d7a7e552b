"""What common.term.scrollback keeps, and what of it is on the screen."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.term.rows import EntryKind, Mark, plain
from common.term.scrollback import Scrollback, Shown
from common.term.text import width

NOON_MS = 1_795_262_460_000  # 21 November 2026, 12:01
DAY_MS = 24 * 3600 * 1000
DAY = "-- Saturday 21 November 2026 " + "-" * 11


def new(kept: int = 100_000) -> Scrollback:
    return Scrollback(time.gmtime, 0, kept)


def line(text: str, *, at_ms: int = NOON_MS, mark: Mark = Mark.NONE, own: bool = False) -> Shown:
    return Shown(at_ms, text, name="ace" if own else "bea", mark=mark, is_own=own)


def notice(text: str, at_ms: int = NOON_MS, *, identity: bytes = b"") -> Shown:
    return Shown(at_ms, text, EntryKind.NOTICE, "dave", identity)


def filled(count: int, kept: int = 100_000) -> Scrollback:
    back = new(kept)
    for number in range(count):
        back.push(line(str(number)), 0.0)
    return back


def rows(back: Scrollback, count: int = 6, columns: int = 40) -> list[str]:
    """The rows that are not blank, without the name that is the same on all."""
    return [plain(row).replace(" bea: ", "") for row in back.view(columns, count) if row]


def test_a_view_is_as_high_as_the_screen_with_blank_rows_above() -> None:
    back = new()
    assert back.view(40, 3) == [(), (), ()]
    back.scroll(5)
    back.oldest()
    assert back.is_following
    back.push(line("hi"), 0.0)
    assert [plain(row) for row in back.view(40, 4)] == ["", "", DAY, " bea: hi"]
    assert back.view(19, 3) == [(), (), ()]
    assert back.view(40, 0) == []
    assert [plain(row) for row in back.view(40, 1)] == [" bea: hi"]


def test_everything_foreign_is_cleaned() -> None:
    back = new()
    back.push(Shown(NOON_MS, "a\x1b[2J\rb", name="b\x07\ne\u202e"), 0.0)
    number = back.push(notice("x"), 0.0)
    back.amend(number, "y\x9b")
    back.pend(1, Shown(NOON_MS, "z\x1b", name="ace"), 0.0)
    assert [plain(row) for row in back.view(80, 5)] == [
        "-- Saturday 21 November 2026 ".ljust(80, "-"),
        "12:01   b␇ e<202E>  a␛[2J",
        "                    b",
        "12:01 --  y<9B>",
        f"12:01          ace  z␛{'...'.rjust(80 - 22)}",
    ]


def test_the_column_of_names_grows_with_those_here_and_never_shrinks() -> None:
    back = new()
    back.make_room(3)
    back.push(line("hi"), 0.0)
    assert plain(back.view(80, 1)[0]) == "12:01   bea  hi"
    back.make_room(6)
    assert plain(back.view(80, 1)[0]) == "12:01      bea  hi"
    back.make_room(3)  # who had the long name has left
    assert plain(back.view(80, 1)[0]) == "12:01      bea  hi"
    back.push(Shown(NOON_MS, "ho", name="beatrice"), 0.0)
    assert plain(back.view(80, 2)[0]) == "12:01        bea  hi"
    back.clear()
    back.push(line("again"), 0.0)
    assert plain(back.view(80, 1)[0]) == "12:01   bea  again"


def test_no_two_who_speak_share_a_colour_while_there_is_another() -> None:
    back = Scrollback(time.gmtime, 256)

    def says(number: int) -> int | None:
        back.push(Shown(NOON_MS, "hi", name=f"u{number}", identity=bytes([number]) * 32), 0.0)
        row = back.view(80, 1)[0]
        return next(span.style.colour for span in row if span.text == f"u{number}")

    first = [says(number) for number in range(9)]
    assert len(set(first)) == 9
    assert [says(number) for number in range(9)] == first
    assert says(10) in first
    back = Scrollback(time.gmtime, 256)
    first = [says(number) for number in range(9)]
    back.gone("u3", bytes([3]) * 32)
    assert says(11) == first[3]


def test_who_only_comes_and_goes_takes_no_colour() -> None:
    back = Scrollback(time.gmtime, 8)
    for number in range(20):
        back.presence(True, notice("came", identity=bytes([number])), 0.0, here=2)
    assert back._taken == {}


def test_a_long_message_is_read_where_it_is() -> None:
    back = filled(5)
    assert not back.unfold()
    back.push(line("\n".join(f"row {number}" for number in range(50))), 0.0)
    back.push(line("below"), 0.0)
    before = rows(back, 12)
    assert before[-2].strip() == "(32 more rows: Enter or /more)"
    assert back.unfold()
    after = rows(back, 12)
    # The row that was cut first stands where the note was, and what stood above it stays.
    assert after[:-2] == before[:-2]
    assert [row.strip() for row in after[-2:]] == ["row 18", "row 19"]
    assert not back.is_following
    back.page(-1)
    assert rows(back, 12)[-1].strip() == "row 29"
    back.newest()
    assert rows(back, 3)[-2:] == ["   row 49", "below"]
    assert not back.unfold()


def test_a_long_message_that_is_not_seen_stays_cut() -> None:
    back = new()
    back.push(line("\n".join(map(str, range(50)))), 0.0)
    for number in range(10):
        back.push(line(str(number)), 0.0)
    rows(back, 6)
    assert not back.unfold()
    back.scroll(8)
    rows(back, 6)
    assert back.unfold()


def test_a_day_line_stands_where_the_date_changes() -> None:
    back = filled(1)
    back.push(line("later", at_ms=NOON_MS + DAY_MS), 0.0)
    assert rows(back) == [DAY, "0", "-- Sunday 22 November 2026 -------------", "later"]


def test_the_view_follows_until_it_is_scrolled_and_then_stays() -> None:
    back = filled(20)
    assert rows(back) == ["14", "15", "16", "17", "18", "19"]
    back.scroll(3)
    assert not back.is_following
    for _ in range(5):
        back.push(line("new"), 0.0)
        assert rows(back)[-4:] == ["13", "14", "15", "16"]
    assert back.new_below == 5
    back.push(notice("came"), 0.0)
    back.push(line("mine", own=True), 0.0)
    assert back.new_below == 5
    # Ten entries and the unread line are below.
    back.scroll(-10)
    assert rows(back)[-1] == "-- came"
    back.scroll(-1)
    assert [back.is_following, back.new_below] == [True, 0]


def test_paging_leaves_two_rows_and_ends_at_both_ends() -> None:
    back = filled(20)
    rows(back)
    back.page(1)
    assert rows(back) == ["10", "11", "12", "13", "14", "15"]
    back.page(9)
    assert rows(back) == [DAY, "0", "1", "2", "3", "4"]
    back.page(1)
    assert rows(back)[0] == DAY
    back.page(-1)
    assert rows(back) == ["3", "4", "5", "6", "7", "8"]
    back.oldest()
    assert rows(back)[:2] == [DAY, "0"]
    back.newest()
    assert rows(back)[-1] == "19"


def test_what_fits_the_screen_cannot_be_scrolled() -> None:
    back = filled(3)
    rows(back)
    back.scroll(2)
    back.oldest()
    assert back.is_following


def test_a_long_message_is_scrolled_by_row() -> None:
    back = filled(3)
    back.push(line("\n".join("abcdefghij")), 0.0)
    rows(back)
    back.scroll(4)
    assert rows(back) == ["a", "   b", "   c", "   d", "   e", "   f"]
    back.scroll(-1)
    assert rows(back)[-1] == "   g"


def test_a_resize_keeps_the_bottom_message() -> None:
    back = filled(30)
    back.push(line("word " * 30), 0.0)
    for number in range(30):
        back.push(line(f"after {number}"), 0.0)
    rows(back, 10)
    back.scroll(30)
    assert rows(back, 10)[-1].strip().startswith("word")
    assert rows(back, 10, 120)[-1].strip().endswith("word word")
    assert rows(back, 5, 30)[-1].strip().startswith("word")
    # More rows than there are above: nothing stays blank while there is something below.
    back.scroll(100)
    assert len(rows(back, 40)) == 40


def test_own_lines_wait_at_the_bottom_and_then_take_their_place() -> None:
    back = filled(2)
    back.pend(1, line("one", own=True), 0.0)
    back.pend(2, line("two", own=True), 4.0)
    back.push(line("other"), 5.0)
    waiting = rows(back)
    assert [row.split()[1:] for row in waiting[-2:]] == [["one", "..."], ["two", "..."]]
    assert waiting[-3] == "other"
    assert all(width(row) == 40 for row in waiting[-2:])
    assert back.deadline() == 10.0
    back.tick(10.0)
    assert [row.split()[-1] for row in rows(back)[-2:]] == ["waiting", "..."]
    assert back.deadline() == 14.0
    back.echo(1, line("one", own=True), 11.0)
    assert rows(back)[-3:-1] == ["other", " ace: one"]
    back.unpend(2)
    back.unpend(99)
    assert rows(back)[-1] == " ace: one"
    assert back.deadline() is None


def test_sending_returns_to_the_bottom() -> None:
    back = filled(20)
    rows(back)
    back.scroll(5)
    back.pend(1, line("mine", own=True), 0.0)
    assert back.is_following
    assert rows(back)[-1].endswith("...")


def test_a_view_among_waiting_lines_stays() -> None:
    back = filled(3)
    for key in range(20):
        back.pend(key, line(f"mine {key}", own=True), 0.0)
    rows(back)
    back.scroll(5)
    before = rows(back)
    assert before[-1].split()[:3] == ["ace:", "mine", "14"]
    back.push(line("other"), 0.0)
    assert rows(back) == before
    back.unpend(0)
    back.echo(1, line("mine 1", own=True), 0.0)
    back.unpend(19)
    assert rows(back) == before


def test_the_oldest_are_dropped_together_with_a_row_that_says_so() -> None:
    back = filled(100, kept=100)
    assert rows(back)[-1] == "99"
    back.push(line("100"), 0.0)
    back.oldest()
    assert rows(back)[:3] == ["-- The oldest 10 messages are no longer~", DAY, "10"]
    back.clear()
    back.push(line("new"), 0.0)
    assert rows(back) == [DAY, "new"]


def test_dropping_moves_nothing_that_is_seen() -> None:
    back = filled(100, kept=100)
    rows(back)
    back.scroll(60)
    before = rows(back)
    for _ in range(35):
        back.push(line("new"), 0.0)
        assert rows(back) == before
    # Nothing is kept for ever because somebody looks at it.
    back.oldest()
    for _ in range(1000):
        back.push(line("new"), 0.0)
        rows(back)
    assert len(back._entries) <= 110
    assert len(rows(back)) == 6


def test_numbers_outlive_what_was_dropped() -> None:
    back = new(10)
    first = last = back.push(line("first"), 0.0)
    for _ in range(30):
        rows(back)
        last = back.push(notice("41 %"), 0.0)
    back.amend(first, "nothing")
    back.amend(last, "42 %")
    back.amend(last + 1, "nothing")
    assert rows(back)[-1] == "-- 42 %"
    assert not any("nothing" in row for row in rows(back))


def test_the_unread_line_stands_above_what_nobody_was_there_to_read() -> None:
    unread = "unread".center(8).center(40, "-")
    back = filled(3)
    back.focus(False)
    back.push(line("mine", own=True), 1.0)
    back.push(notice("came"), 1.0)
    back.push(line("one"), 1.0)
    back.push(line("two"), 1.0)
    assert rows(back)[-4:] == ["-- came", unread, "one", "two"]
    # The focus alone is no reading, nor is a key elsewhere.
    back.key(2.0)
    back.focus(True)
    back.push(line("three"), 2.0)
    back.focus(False)
    back.push(line("four"), 2.0)
    assert rows(back)[-5:] == [unread, "one", "two", "three", "four"]
    back.focus(True)
    back.key(3.0)
    back.push(line("five"), 3.0)
    assert rows(back)[-6:][0] == unread
    back.focus(False)
    back.push(line("six"), 4.0)
    assert rows(back, 4)[-2:] == [unread, "six"]
    assert unread not in rows(back, 20)[:-2]


def test_being_scrolled_up_is_an_absence_too() -> None:
    back = filled(20)
    rows(back)
    back.key(1.0)
    back.scroll(8)
    back.push(line("unseen"), 2.0)
    assert back.to_unread()
    assert rows(back, 3)[-1].strip() == "unseen"


def test_without_focus_events_five_minutes_without_a_key_are_an_absence() -> None:
    back = filled(1)
    assert not back.is_absent(200.0)
    assert back.is_absent(301.0)
    back.key(400.0)
    assert not back.is_absent(700.0)
    assert back.is_absent(701.0)
    back.focus(True)
    assert not back.is_absent(9999.0)


def test_to_unread_puts_the_line_at_the_top() -> None:
    back = filled(30)
    assert not back.to_unread()
    back.focus(False)
    for number in range(30):
        back.push(line(f"new {number}"), 0.0)
    rows(back)
    assert back.to_unread()
    assert rows(back)[:2] == ["unread".center(8).center(40, "-"), "new 0"]


def test_mentions_are_counted_until_they_were_seen_and_visited_newest_first() -> None:
    back = filled(5)
    assert not back.to_mention()
    back.push(line("seen", mark=Mark.MENTION), 0.0)
    assert back.mentions == 0
    for number in range(60):
        back.push(line(f"x {number}"), 0.0)
    back.focus(False)
    back.push(line("look", mark=Mark.MENTION), 0.0)
    back.push(line("psst", mark=Mark.DIRECT), 0.0)
    assert back.mentions == 2
    for number in range(60):
        back.push(line(f"y {number}"), 0.0)
    rows(back)
    for text in ("@bea: look", "@bea: seen", "@bea: look"):
        assert back.to_mention()
        assert text in rows(back)
    back.focus(True)
    back.key(1.0)
    assert back.mentions == 2
    back.newest()
    back.key(2.0)
    assert back.mentions == 0


def test_find_goes_to_the_newest_match_and_marks_all() -> None:
    back = filled(50)
    rows(back)
    assert back.find("3")
    assert "43" in rows(back)
    visited = []
    for _ in range(14):
        assert back.find("")
        current = [row for row in back.view(40, 6) if any(s.style.bold for s in row)]
        visited += [plain(row).removeprefix(" bea: ") for row in current]
    assert visited == [str(n) for n in range(39, 29, -1)] + ["23", "13", "3", "43"]
    assert back.find_next(-1)
    assert "3" in rows(back)
    marked = [span.text for row in back.view(40, 60) for span in row if span.style.reverse]
    assert marked == ["3"] * 15


def test_find_of_nothing_leaves_the_view() -> None:
    back = filled(50)
    assert not back.find("")
    rows(back)
    back.scroll(9)
    before = rows(back)
    assert not back.find("foo")
    assert rows(back) == before
    assert not back.find_next(1)
    back.push(line("Straße FOO.*"), 0.0)
    assert back.find("strasse")
    assert back.find("foo.*")
    assert not back.find(".foo")


def test_a_match_that_is_seen_moves_nothing() -> None:
    back = filled(50)
    before = rows(back)
    assert back.find("47")
    assert rows(back) == before
    assert back.is_following


def test_coming_and_going_within_a_minute_is_one_row() -> None:
    back = filled(1)

    def told(is_coming: bool, text: str, after_s: float, identity: bytes = b"d") -> str:
        at_ms = NOON_MS + int(after_s * 1000)
        back.presence(is_coming, notice(text, at_ms, identity=identity), after_s, here=5)
        return rows(back, 9, 59)[-1]

    assert told(False, "dave left after 12 min. 4 here", 0) == "-- dave left after 12 min. 4 here"
    assert told(True, "dave joined", 10) == "-- dave left and came back. 5 here"
    assert told(False, "dave left again. 4 here", 20) == "-- dave left again. 4 here"
    assert told(True, "dave joined", 30) == "-- dave left and came back (2 times). 5 here"
    told(False, "dave left", 89)
    assert told(True, "dave joined", 90) == "-- dave left and came back (3 times). 5 here"
    assert len(rows(back, 9, 59)) == 3
    # Somebody else, or somebody else under that name, or too late: another row.
    assert told(True, "dave joined, first seen", 91, b"other") == "-- dave joined, first seen"
    # Who joins and leaves has told two things.
    assert told(False, "dave left", 92, b"other") == "-- dave left"
    assert told(False, "dave left at last", 151) == "-- dave left at last"
    assert len(rows(back, 9, 59)) == 6


def test_coming_and_going_after_clear_is_a_new_row() -> None:
    back = new()
    back.presence(False, notice("dave left"), 0.0, here=1)
    back.clear()
    back.presence(True, notice("dave joined"), 1.0, here=2)
    assert rows(back)[-1] == "-- dave joined"


def test_clear_forgets_all_but_lines_on_their_way() -> None:
    back = filled(20)
    back.focus(False)
    back.push(line("ace", mark=Mark.MENTION), 0.0)
    back.pend(1, line("mine", own=True), 0.0)
    assert back.find("1")
    back.clear()
    assert rows(back)[-1].split() == ["ace:", "mine", "..."]
    assert len(rows(back)) == 2
    assert not back.to_unread()
    assert not back.to_mention()
    assert not back.find("1")
    assert back.copy(50) == []


def test_copy_gives_messages_as_stored() -> None:
    family = "\U0001f469\u200d\U0001f469"
    back = new()
    back.push(line("zero"), 0.0)
    back.push(line(f"one\n{family}"), 0.0)
    back.push(notice("dave joined"), 0.0)
    back.push(Shown(NOON_MS, "KEY.SECRET", EntryKind.BARE), 0.0)
    back.push(Shown(NOON_MS, "waves", EntryKind.ACTION, "bea"), 0.0)
    assert back.copy(3) == [f"one\n{family}", "KEY.SECRET", "* bea waves"]
    assert back.copy(3, with_names=True) == [
        f"12:01 bea: one\n    {family}",
        "KEY.SECRET",
        "12:01 * bea waves",
    ]
    assert len(back.copy(50)) == 4


def test_urls_are_listed_once_newest_last() -> None:
    back = new()
    for text in ("http://a http://b", "none", "http://a, http://c", "https://d."):
        back.push(line(text), 0.0)
    assert back.urls(20) == ["http://b", "http://a", "http://c", "https://d"]
    assert back.urls(2) == ["http://c", "https://d"]


STEPS = st.one_of(
    st.tuples(st.just("push"), st.integers(0, 40)),
    st.tuples(st.just("scroll"), st.integers(-30, 30)),
    st.tuples(st.just("pend"), st.integers(0, 5)),
    st.tuples(st.just("echo"), st.integers(0, 5)),
    st.tuples(st.sampled_from(["find", "unread", "mention", "oldest", "newest", "clear", "blur",
                               "unfold"]),
              st.just(0)),
    st.tuples(st.just("view"), st.integers(20, 90)),
    st.tuples(st.just("room"), st.integers(0, 20)),
)  # fmt: skip


@given(st.lists(STEPS, max_size=60), st.integers(1, 12))
def test_whatever_happens_the_screen_is_full_of_rows_that_fit(
    steps: list[tuple[str, int]], height: int
) -> None:
    back = new(20)
    columns = 60
    for step, number in steps:
        match step:
            case "push":
                back.push(line("wörd\n" * number, mark=list(Mark)[number % 6]), 0.0)
            case "scroll":
                back.scroll(number)
            case "pend":
                back.pend(number, line("mine", own=True), 0.0)
            case "echo":
                back.echo(number, line("mine", own=True), 0.0)
            case "find":
                back.find("d w")
            case "unread":
                back.to_unread()
            case "mention":
                back.to_mention()
            case "oldest":
                back.oldest()
            case "newest":
                back.newest()
            case "clear":
                back.clear()
            case "unfold":
                back.unfold()
            case "room":
                back.make_room(number)
            case "blur":
                back.focus(False)
            case _:
                columns = number
        view = back.view(columns, height)
        assert len(view) == height
        assert all(width(plain(row)) <= columns for row in view)
        total = sum(len(back._drawn(back._first + place)) for place in range(back._total))
        assert sum(row != () for row in view) == min(height, total)
        assert back._total == 0 or back._first <= back._bottom.number < back._first + back._total


@given(st.integers(-40, 40), st.integers(1, 60), st.integers(1, 10))
def test_arrivals_never_move_a_view_that_is_scrolled_up(
    rows_up: int, arrivals: int, height: int
) -> None:
    back = filled(40)
    back.view(40, height)
    back.scroll(20)
    back.scroll(rows_up)
    if back.is_following:
        return
    before = back.view(40, height)
    for _ in range(arrivals):
        back.push(line("new " * arrivals), 0.0)
    assert back.view(40, height) == before


@pytest.mark.parametrize("step", [1, -1])
def test_scrolling_there_and_back_returns(step: int) -> None:
    back = filled(60)
    back.view(40, 8)
    back.scroll(25)
    before = back.view(40, 8)
    back.scroll(step * 7)
    assert back.view(40, 8) != before
    back.scroll(step * -7)
    assert back.view(40, 8) == before


def test_a_thousand_messages_take_a_quarter_of_a_megabyte() -> None:
    # 3 to 17 words of 5 letters: UX.md 11.
    sent = [line("words " * (3 + number % 15) + str(number)) for number in range(3000)]
    back = new()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for each in sent:
        # A text of its own, as one that was opened is.
        back.push(Shown(each.at_ms, each.text + "!", name=each.name), 0.0)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / 3 < 250_000
