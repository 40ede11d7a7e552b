"""What common.term.editor and common.term.draft do with keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.term.complete import Argument, Sources
from common.term.draft import DRAFT_BYTES, Draft, Rows
from common.term.editor import MESSAGE_BYTES, Action, Editor, Outcome, Scroll, Submit
from common.term.keys import Focus, Key, KeyEvent, Keys, Paste, Typed, Wheel
from common.term.text import boundary, width

SOURCES = Sources(["bea", "ben\x1b"], {"/msg": (Argument.NAME,), "/me": ()})
FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"
FLAG = "\U0001f1e9\U0001f1ea"


def new() -> Editor:
    return Editor(lambda: SOURCES)


def press(editor: Editor, keys: str) -> Outcome | None:
    """Apply what stands between blanks: a key if in angle brackets, else typed text."""
    outcome = None
    for part in keys.split(" "):
        is_key = part.startswith("<") and part.endswith(">")
        outcome = editor.apply(Key(part[1:-1]) if is_key else Typed(part.replace("_", " ")))
    return outcome


def shown(editor: Editor) -> str:
    """The draft with a bar at the cursor."""
    return f"{editor.text[: editor.cursor]}|{editor.text[editor.cursor :]}"


def notice(editor: Editor) -> str | None:
    return editor.notice


@pytest.mark.parametrize(
    ("keys", "after"),
    [
        ("ab <left> c", "ac|b"),
        ("ab <ctrl-b> <ctrl-b> <ctrl-b> c", "c|ab"),
        ("ab <home> <right> <ctrl-f> <ctrl-f> c", "abc|"),
        ("ab <ctrl-a> c <ctrl-e> d", "cabd|"),
        (f"a{FAMILY}b <left> <left>", f"a|{FAMILY}b"),
        (f"{FLAG}{FLAG} <left> <backspace>", f"|{FLAG}"),
        ("e\u0301 <backspace>", "|"),
        ("a\u0301b <home> <delete>", "|b"),
        ("abc <left> <ctrl-d>", "ab|"),
        ("one_two-three <alt-b>", "one two-|three"),
        ("one_two-three <ctrl-left> <ctrl-left>", "one |two-three"),
        ("one_two-three <home> <alt-f> <ctrl-right>", "one two|-three"),
        ("one_two-three <ctrl-w>", "one |"),
        ("one_two-three <alt-backspace>", "one two-|"),
        ("one_two-three <home> <alt-d>", "| two-three"),
        ("one_two <left> <ctrl-u>", "|o"),
        ("one_two <home> <right> <ctrl-k>", "o|"),
        ("one <alt-enter> two <ctrl-u>", "one\n|"),
        ("one <alt-enter> two <ctrl-u> <ctrl-u>", "one|"),
        ("one <ctrl-j> two <up> <left> <ctrl-k>", "on|\ntwo"),
        ("one <ctrl-j> two <up> <left> <ctrl-k> <ctrl-k>", "on|two"),
        ("one_two <ctrl-w> <ctrl-y> <ctrl-y>", "one twotwo|"),
        ("a_b_c <ctrl-w> <ctrl-w> <left> <ctrl-y>", "ab c| "),
        ("a_b <home> <alt-d> <alt-d> <ctrl-y>", "a b|"),
        ("one <ctrl-w> two <ctrl-w> <ctrl-y>", "two|"),
        ("one <ctrl-w> two <ctrl-w> <ctrl-y> <alt-y>", "one|"),
        ("one <ctrl-w> two <ctrl-w> <ctrl-y> <alt-y> <alt-y>", "two|"),
        ("one <alt-y>", "one|"),
        ("ab <ctrl-t>", "ba|"),
        ("abc <home> <ctrl-t> <right> <ctrl-t>", "ba|c"),
        ("a日 <left> <ctrl-t>", "日a|"),
        ("one_two <home> <alt-u>", "ONE| two"),
        ("ONE_TWO <home> <alt-f> <alt-l>", "ONE two|"),
        ("one_tWO <home> <alt-c> <alt-c>", "One Two|"),
        ("one_two <ctrl-_>", "|"),
        ("one_ two <ctrl-_>", "one |"),
        ("one <ctrl-w> <ctrl-_>", "one|"),
        ("one <ctrl-c> two <ctrl-y>", "twoone|"),
        ("one <f9> <ctrl-g> <alt-é> x", "onex|"),
        ("a\tb\x1b\u202e", "a\tb␛<202E>|"),
    ],
)
def test_keys(keys: str, after: str) -> None:
    editor = new()
    press(editor, keys)
    assert shown(editor) == after


@pytest.mark.parametrize(
    ("keys", "outcome"),
    [
        ("hi <enter>", Submit("hi", is_pasted=False)),
        ("/quit <enter>", Submit("/quit", is_pasted=False)),
        ("a <alt-enter> b <enter>", Submit("a\nb", is_pasted=False)),
        ("/quit <ctrl-j> <enter>", Submit("/quit\n", is_pasted=False)),
        ("___ <enter>", None),
        ("<enter>", Action.ENTER),
        ("<ctrl-c>", Action.QUIT),
        ("<ctrl-d>", Action.QUIT),
        ("x <ctrl-c>", None),
        ("x <ctrl-d>", None),
        ("x <esc>", Action.ESCAPE),
        ("<end>", Action.NEWEST),
        ("x <end>", None),
        ("x <ctrl-x> <ctrl-e>", Action.EDIT),
        ("x <ctrl-x> <left> <ctrl-e>", None),
        ("x <ctrl-\\>", Action.LEAVE_NOW),
        ("<f1>", Action.HELP),
        ("x <alt-up>", Scroll(1)),
        ("x <alt-down>", Scroll(-1)),
    ],
)
def test_outcomes(keys: str, outcome: Outcome | None) -> None:
    assert press(new(), keys) == outcome


def test_a_blank_input_is_cleared() -> None:
    editor = new()
    press(editor, "__\u200d <ctrl-j> <enter>")
    assert editor.text == ""
    assert press(editor, "<up>") is None
    assert editor.text == ""


def test_the_wheel_moves_the_view_and_nothing_that_is_typed_or_was_begun() -> None:
    editor = new()
    press(editor, "a <enter> b <enter> c <ctrl-w> <ctrl-y>")
    for rows in (3, -3, 1):
        assert editor.apply(Wheel(rows)) == Scroll(rows)
    assert shown(editor) == "c|"
    press(editor, "x <alt-enter> be <tab>")
    before = shown(editor)
    assert editor.apply(Wheel(5)) == Scroll(5)
    assert shown(editor) == before
    press(editor, "<ctrl-r> a")
    row = editor.layout(60, 1).rows
    assert editor.apply(Wheel(1)) == Scroll(1)
    assert editor.layout(60, 1).rows == row


@pytest.mark.parametrize(("key", "at"), [("alt-left", "one |two"), ("alt-right", "one two|")])
def test_alt_with_an_arrow_moves_by_word(key: str, at: str) -> None:
    editor = new()
    press(editor, f"one_two <left> <{key}>")
    assert shown(editor) == at


def test_history_keeps_the_draft_and_edits_of_old_lines() -> None:
    editor = new()
    press(editor, "one <enter> two <enter> two <enter> draft <up>")
    assert shown(editor) == "two|"
    press(editor, "! <ctrl-p>")
    assert editor.text == "one"
    press(editor, "<up>")
    assert editor.text == "one"
    press(editor, "<down>")
    assert editor.text == "two!"
    press(editor, "<ctrl-n> <ctrl-n>")
    assert shown(editor) == "draft|"
    # A line that was only looked at stays in history as it was sent.
    press(editor, "<ctrl-c> <up>")
    assert editor.text == "two"


def test_history_is_bounded() -> None:
    editor = new()
    for number in range(300):
        press(editor, f"{number} <enter>")
    for _ in range(400):
        press(editor, "<up>")
    assert editor.text == "100"


def test_up_and_down_move_in_the_rows_of_one_input_first() -> None:
    editor = new()
    press(editor, "old <enter> abcdef <ctrl-j> gh <up>")
    assert shown(editor) == "ab|cdef\ngh"
    press(editor, "<down>")
    assert shown(editor) == "abcdef\ngh|"
    editor.layout(7, 6)  # rows of four cells: abcd ef gh
    press(editor, "<up> <up>")
    assert shown(editor) == "ab|cdef\ngh"
    press(editor, "<up>")
    assert editor.text == "old"


def test_home_and_end_go_to_the_row_and_then_to_the_text() -> None:
    editor = new()
    editor.layout(7, 6)
    press(editor, "abcdefgh <ctrl-j> ij <up> <left>")
    assert shown(editor) == "abcde|fgh\nij"
    press(editor, "<home>")
    assert shown(editor) == "abcd|efgh\nij"
    press(editor, "<home> <end>")
    assert shown(editor) == "abc|defgh\nij"
    press(editor, "<end>")
    assert shown(editor) == "abcdefgh\nij|"


def test_search_finds_older_lines_and_sends_none() -> None:
    editor = new()
    press(editor, "Build_red <enter> lunch <enter> build_green <enter> draft <ctrl-r> build")
    assert editor.layout(60, 1).rows == ('search "build": build green',)
    press(editor, "<ctrl-r>")
    assert editor.layout(60, 1).rows == ('search "build": Build red',)
    assert press(editor, "<ctrl-r>") is None
    assert editor.layout(60, 1).rows == ('no match "build": Build red',)
    assert press(editor, "<enter>") is None
    assert shown(editor) == "Build red|"
    press(editor, "<ctrl-_>")
    assert shown(editor) == "draft|"


@pytest.mark.parametrize("key", ["esc", "ctrl-g", "ctrl-c"])
def test_a_search_given_up_returns_to_the_draft(key: str) -> None:
    editor = new()
    press(editor, f"one <enter> dra_ft <left> <ctrl-r> one <{key}>")
    assert shown(editor) == "dra f|t"
    assert editor.layout(60, 1).rows == ("> dra ft",)


def test_in_a_search_other_keys_take_the_line_and_act_on_it() -> None:
    editor = new()
    press(editor, "one_two <enter> <ctrl-r> oneX <backspace> <ctrl-a>")
    assert shown(editor) == "|one two"
    press(editor, "<ctrl-c> <ctrl-r>")
    assert editor.apply(Paste("\x1btwo\n")) is None
    assert editor.layout(60, 1).rows == ('no match "␛two ": ',)
    assert press(editor, "<pgup>") is Action.PAGE_UP
    assert editor.apply(Wheel(3)) == Scroll(3)
    assert editor.apply(Focus(True)) is None
    assert press(editor, "<esc>") is None


def test_what_was_pasted_is_no_command() -> None:
    editor = new()
    editor.apply(Paste("/quit"))
    assert press(editor, "<enter>") == Submit("/quit", is_pasted=True)
    # Nor when it comes back from history or the kill ring.
    assert press(editor, "<up> <enter>") == Submit("/quit", is_pasted=True)
    press(editor, "<up> <ctrl-c> <ctrl-y>")
    assert press(editor, "<enter>") == Submit("/quit", is_pasted=True)
    press(editor, "<up> <ctrl-u> <ctrl-_>")
    assert press(editor, "<enter>") == Submit("/quit", is_pasted=True)


def test_what_was_pasted_into_a_typed_command_is_its_argument() -> None:
    editor = new()
    press(editor, "/msg_bea_")
    editor.apply(Paste("hello"))
    assert press(editor, "<enter>") == Submit("/msg bea hello", is_pasted=False)
    press(editor, "/msg_")
    editor.apply(Paste("bea\nhello"))
    assert press(editor, "<enter>") == Submit("/msg bea\nhello", is_pasted=False)


def test_a_hostile_clipboard_is_neither_sent_nor_obeyed() -> None:
    editor, keys = new(), Keys()
    for event in keys.receive(b"\x1b[200~\x1b[201~/quit\r\x1b[201~", 0.0):
        assert editor.apply(event) is None
    assert editor.text == "/quit\n"
    assert editor.apply(Key("enter")) == Submit("/quit\n", is_pasted=True)


def test_a_typed_reply_shows_whom_it_answers() -> None:
    editor = Editor(lambda: SOURCES._replace(reply_to="bea\x1b"))
    press(editor, "/r_h i <left> o")
    assert shown(editor) == "/msg bea␛ ho|i"
    press(editor, "<ctrl-u> <ctrl-k> /r_")
    assert shown(editor) == "/msg bea␛ |"
    editor.apply(Paste("psst\n"))
    assert press(editor, "<enter>") == Submit("/msg bea␛ psst\n", is_pasted=False)


def test_a_reply_to_nobody_or_a_pasted_one_stays_as_it_is() -> None:
    editor = new()
    press(editor, "/r_hi")
    assert shown(editor) == "/r hi|"
    editor = Editor(lambda: SOURCES._replace(reply_to="bea"))
    editor.apply(Paste("/r psst"))
    press(editor, "!")
    assert shown(editor) == "/r psst!|"


def test_a_text_that_is_put_back_is_as_literal_as_it_was() -> None:
    editor = new()
    editor.fill("/quit", is_pasted=True)
    assert press(editor, "<enter>") == Submit("/quit", is_pasted=True)


def test_a_paste_of_several_lines_says_what_enter_and_esc_do() -> None:
    editor = new()
    press(editor, "a <left>")
    editor.apply(Paste("\r\n".join(["twelve chars"] * 150)))
    assert notice(editor) == "150 lines, 1.9 KB: Enter sends, Esc removes"
    assert press(editor, "<esc>") is None
    assert shown(editor) == "|a"
    assert notice(editor) is None
    press(editor, "<ctrl-_>")
    assert editor.text.count("\n") == 149
    assert press(editor, "<esc>") is Action.ESCAPE
    assert editor.text.endswith("charsa")


def test_a_paste_in_two_parts_is_one_step() -> None:
    editor = new()
    press(editor, "a")
    editor.apply(Paste("one\n"))
    assert notice(editor) is None
    editor.apply(Focus(False))
    editor.apply(Paste("two"))
    assert notice(editor) == "2 lines, 7 bytes: Enter sends, Esc removes"
    press(editor, "<ctrl-_>")
    assert editor.text == "a"


def test_an_edited_paste_is_typed_text() -> None:
    editor = new()
    editor.apply(Paste("one\ntwo"))
    press(editor, "<left>")
    assert press(editor, "<esc>") is Action.ESCAPE
    assert editor.text == "one\ntwo"


def test_a_draft_holds_64_kib() -> None:
    editor = new()
    editor.apply(Paste("x" * (DRAFT_BYTES - 4), is_cut=True))
    assert notice(editor) == "64 KB is the limit here. The rest was left out."
    editor.apply(Typed("日本"))
    assert notice(editor) == "64 KB is the limit here. The rest was left out."
    assert editor.text.endswith("x日")
    press(editor, "<backspace> ab")
    assert notice(editor) is None
    assert len(editor.text.encode()) == DRAFT_BYTES - 2


def test_a_message_too_long_is_kept() -> None:
    editor = new()
    editor.apply(Paste("é" * (MESSAGE_BYTES // 2)))
    assert press(editor, "x <enter>") is None
    assert notice(editor) == "16 KB is the limit, this is 17 KB. Nothing was sent."
    assert press(editor, "<backspace> <enter>") == Submit("é" * (MESSAGE_BYTES // 2), True)


def test_completion_cycles_and_esc_returns_what_was_typed() -> None:
    editor = new()
    press(editor, "be <tab>")
    assert shown(editor) == "bea: |"
    press(editor, "<tab>")
    assert shown(editor) == "ben␛: |"
    press(editor, "<tab> <shift-tab>")
    assert shown(editor) == "ben␛: |"
    assert press(editor, "<esc>") is None
    assert shown(editor) == "be|"
    press(editor, "<shift-tab> x <esc>")
    assert shown(editor) == "ben␛: x|"
    press(editor, "<ctrl-_> <ctrl-_>")
    assert shown(editor) == "be|"


def test_tab_behind_a_completed_command_offers_what_it_takes() -> None:
    editor = new()
    press(editor, "/ms <tab>")
    assert shown(editor) == "/msg |"
    press(editor, "<tab>")
    assert shown(editor) == "/msg bea |"
    press(editor, "<tab>")
    assert shown(editor) == "/msg ben␛ |"


def test_tab_behind_a_slash_lists_the_commands() -> None:
    editor = new()
    assert press(editor, "/ <tab>") is Action.HELP
    assert shown(editor) == "/|"


@pytest.mark.parametrize(
    ("typed", "prompt"),
    [
        ("/msg bea ", "to bea > /msg bea "),
        ("/msg bea hi", "to bea > /msg bea hi"),
        ("/ms bea hi", "to bea > /ms bea hi"),
        ("/w bea hi", "to bea > /w bea hi"),
        ("/msg  bea\t", "to bea > /msg  bea    "),
        ("/msg bea", "> /msg bea"),
        ("/me waves at bea", "> /me waves at bea"),
        ("//msg bea hi", "> //msg bea hi"),
        (" /msg bea hi", ">  /msg bea hi"),
        ("/m bea hi", "> /m bea hi"),
    ],
)
def test_the_prompt_says_to_whom_alone_a_line_goes(typed: str, prompt: str) -> None:
    pair = (Argument.NAME, Argument.TEXT)
    known = {"/msg": pair, "/w": pair, "/me": (Argument.TEXT,), "/kick": (Argument.NAME, ())}
    editor = Editor(lambda: SOURCES._replace(commands=known))
    editor.apply(Typed(typed))
    assert editor.layout(80, 1).rows == (prompt,)
    assert bool(editor.to) is prompt.startswith("to")


def test_what_was_pasted_goes_to_nobody_alone() -> None:
    pair = (Argument.NAME, Argument.TEXT)
    editor = Editor(lambda: SOURCES._replace(commands={"/msg": pair}))
    editor.apply(Paste("/msg bea hi"))
    assert editor.layout(80, 1).rows == ("> /msg bea hi",)


def test_completion_of_nothing_changes_nothing() -> None:
    editor = new()
    press(editor, "zz <tab> <tab> <shift-tab>")
    assert shown(editor) == "zz|"


def test_completion_before_a_blank_adds_none() -> None:
    editor = new()
    press(editor, "/ms_x <left> <left> <tab>")
    assert shown(editor) == "/msg |x"


def test_fill_is_one_step() -> None:
    editor = new()
    editor.apply(Paste("draft"))
    press(editor, "<ctrl-r>")
    editor.fill("from\x1b an editor\r\n")
    assert shown(editor) == "from␛ an editor\n|"
    press(editor, "<ctrl-_>")
    assert shown(editor) == "draft|"


def test_undo_goes_back_a_hundred_steps() -> None:
    editor = new()
    for _ in range(150):
        press(editor, "a_")
    for _ in range(200):
        press(editor, "<ctrl-_>")
    assert editor.text == "a " * 50


def test_layout_shows_the_rows_around_the_cursor() -> None:
    editor = new()
    assert editor.layout(20, 6) == editor.layout(20, 1)
    press(editor, "one <ctrl-j> two <ctrl-j> three")
    assert editor.layout(20, 6).rows == ("> one", "  two", "  three")
    assert editor.layout(20, 2).rows == ("  two", "  three")
    assert editor.layout(20, 2).row == 1
    assert editor.layout(20, 2).cell == 7
    press(editor, "<up>")
    assert editor.layout(20, 2).rows == ("  two", "  three")
    press(editor, "<up>")
    assert editor.layout(20, 2).rows == ("> one", "  two")
    press(editor, "<down> <down> <ctrl-c>")
    assert editor.layout(20, 2).rows == ("> ",)


def test_layout_draws_text_as_the_terminal_counts_it() -> None:
    editor = new()
    editor.apply(Typed(f"{FAMILY}\tx"))
    layout = editor.layout(40, 6)
    assert layout.rows == ("> \U0001f469\U0001f469\U0001f467    x",)
    assert layout.cell == 2 + 6 + 4 + 1


# All that edit, and some that do not.
KEYS = [
    "left", "right", "home", "end", "alt-b", "alt-f", "backspace", "delete", "ctrl-w", "alt-d",
    "alt-backspace", "ctrl-u", "ctrl-k", "ctrl-y", "alt-y", "ctrl-t", "alt-u", "alt-c", "ctrl-_",
    "up", "down", "ctrl-r", "tab", "shift-tab", "esc", "ctrl-c", "ctrl-x", "ctrl-j", "ctrl-d",
    "ctrl-g", "f1",
]  # fmt: skip
EVENTS = st.one_of(
    st.text(
        st.sampled_from("ab Z-日é\u0301\u200d\U0001f469\U0001f1e9\U0001f3fb\n\t\x1b\ud800"),
        max_size=6,
    ).map(Typed),
    st.text(st.sampled_from("/x y\n\r日\u0301\x9b"), max_size=20).map(Paste),
    st.sampled_from(KEYS).map(Key),
    st.just(Wheel(3)),
    st.just(Focus(False)),
)
SCREENS = st.tuples(st.integers(1, 30), st.integers(1, 6))


@given(st.lists(st.one_of(EVENTS, st.just(Key("enter"))), max_size=40), SCREENS)
def test_any_keys_keep_the_cursor_in_the_text_and_the_rows_on_the_screen(
    events: list[KeyEvent], screen: tuple[int, int]
) -> None:
    editor = new()
    columns, max_rows = screen
    for event in events:
        editor.apply(event)
        assert 0 <= editor.cursor <= len(editor.text)
        assert boundary(editor.text, editor.cursor) == editor.cursor
        draft: Draft = editor._draft
        assert draft.size_bytes == len(editor.text.encode())
        layout = editor.layout(columns, max_rows)
        assert 1 <= len(layout.rows) <= max_rows
        assert 0 <= layout.row < len(layout.rows)
        assert 0 <= layout.cell < columns
        assert all(width(row) <= columns for row in layout.rows)
        assert not set("\n\t\x1b") & set("".join(layout.rows))


@given(st.lists(EVENTS, max_size=30))
def test_undo_returns(events: list[KeyEvent]) -> None:
    editor = new()
    for event in events:
        editor.apply(event)
    editor.apply(Key("esc"))
    for _ in range(200):
        editor.apply(Key("ctrl-_"))
    assert shown(editor) == "|"


@given(st.lists(EVENTS, max_size=30), st.integers(2, 12))
def test_rows_kept_from_before_are_those_found_anew(events: list[KeyEvent], columns: int) -> None:
    editor = new()
    for event in events:
        editor.apply(event)
        if editor._search is None:
            editor.layout(columns, 3)
            kept, anew = editor._draft._rows, Rows(editor._draft._rows._cells)
            count = anew.count(editor.text, 1000)
            assert kept.count(editor.text, 1000) == count
            assert kept._spans == anew._spans
            joined = "".join(editor.text[start:end] for start, end in anew._spans)
            assert joined == editor.text.replace("\n", "")


@pytest.mark.parametrize("piece", ["x", "日", "word ", "e\u0301", "\t", "\n", FAMILY])
def test_64_kib_are_laid_out_to_the_last_place(piece: str) -> None:
    editor = new()
    text = piece * (65000 // len(piece.encode()))
    editor.apply(Paste(text))
    layout = editor.layout(80, 6)
    assert editor.cursor == len(editor.text) == len(text)
    assert layout.row == len(layout.rows) - 1 == 5
