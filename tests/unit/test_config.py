"""Flags beat the environment, then config.ini, then defaults; what is wrong is said in one line."""

from __future__ import annotations

import configparser
import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import config
from common.client.peer import sample
from common.config import (
    DEFAULT_PORT,
    ClientConfig,
    Flag,
    Option,
    PeerConfig,
    ServerConfig,
    default_home,
    identity_path,
    load_client,
    load_server,
)
from common.errors import FileError, TermchatError, UsageError
from common.view.view import MEANINGS

KEY = "jJkle3WNf2SBFqJsqkkXULGCvpWOk_X5ELsHsb7-13H3"
FERNET_KEY = "DN80giegpRHpNHLClZep_maYg2iXRGHsbq9Uy1Cobi0="
PARAMETERS = f"""\
[parameters]
ip = 192.168.1.112
port = 50233
fernet_key = {FERNET_KEY}
username = desktop
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder, and at home in another, where nothing lies but what a test put there."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path))
    return here


def write(content: str, path: str | Path = "config.ini", mode: int = 0o600) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
    return path


def refusal(*argv: str, **environ: str) -> str:
    """Return the sentence of a client that does not start."""
    with pytest.raises(TermchatError) as caught:
        load_client(argv, environ)
    assert "\n" not in str(caught.value)
    return str(caught.value)


PROGRAMS = [
    (config.CLIENT_HELP, config.CLIENT_FLAGS, ClientConfig),
    (config.SERVER_HELP, config.SERVER_FLAGS, ServerConfig),
]


class TestRows:
    @pytest.mark.parametrize(("text", "rows", "_fields"), PROGRAMS)
    def test_help_says_each_row_and_nothing_else_on_one_screen(
        self, text: str, rows: Sequence[Flag], _fields: object
    ) -> None:
        options, _, examples = text.partition("Examples:\n")
        for row in rows:
            said = f"{row.said} {row.value}".strip()
            assert re.search(rf"(?<![\w-]){re.escape(said)}(?![\w-])", options), said
        taken = {form for row in rows if row.said for form in row.said.split(", ")}
        named = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", options))
        assert named == taken | {"-h", "--help", "--version"}
        # With the prompt under it, of a terminal of 80 by 24.
        assert len(text.splitlines()) <= 23
        assert max(map(len, text.splitlines())) <= 79
        assert len(examples.splitlines()) == 3

    @pytest.mark.parametrize(("_text", "rows", "fields"), PROGRAMS)
    def test_a_row_fills_a_field_or_is_what_one_is_made_of(
        self, _text: str, rows: Sequence[Flag], fields: type[ClientConfig | ServerConfig]
    ) -> None:
        makings = {
            "key_command",
            "password_command",
            "key_file",
            "password_file",
            "passphrase_file",
            "file",
        }
        makings |= {"listen", "connect", "genkey", "init", "forget"}
        filled = [row.field for row in rows]
        assert len(filled) == len(set(filled))
        assert set(filled) - set(fields._fields) <= makings
        # What is repeated is a tuple, and nothing else.
        for row in rows:
            default = fields._field_defaults.get(row.field)
            assert (row.action == "append") == isinstance(default, tuple), row.said


class TestServer:
    def test_without_a_word_it_is_for_this_machine_only(self) -> None:
        # The default password is public, so nobody else may reach it unasked.
        assert load_server([], {}) == ServerConfig(hosts=("localhost",))
        assert load_server([], {}).password is None

    def test_with_a_password_it_is_for_all(self) -> None:
        assert load_server(["--password", "x"], {}) == ServerConfig(password="x")
        assert load_server([], {"TERMCHAT_PASSWORD": "x"}) == ServerConfig(password="x")

    def test_the_flag_beats_the_environment(self) -> None:
        environ = {"TERMCHAT_PASSWORD": "env"}
        assert load_server(["--password", "flag"], environ).password == "flag"

    @pytest.mark.parametrize("environ", [{}, {"TERMCHAT_PASSWORD": "env"}])
    def test_an_empty_password_opens_it_to_nobody(self, environ: dict[str, str]) -> None:
        for argv in (["--password", ""], ["--password="]):
            with pytest.raises(UsageError) as caught:
                load_server(argv, environ)
            told = "An empty password is none. Give another, or no --password at all."
            assert str(caught.value) == told

    def test_an_empty_variable_is_none(self) -> None:
        assert load_server([], {"TERMCHAT_PASSWORD": ""}) == ServerConfig(hosts=("localhost",))

    def test_a_variable_without_a_name_is_nobodys(self) -> None:
        assert load_server([], {"": "x"}) == ServerConfig(hosts=("localhost",))

    def test_every_flag(self) -> None:
        argv = "--password x -p 5 --host a --host ::1 --room-size 7 --rooms 0 --threads 3"
        argv += " --grace 1.5 --data d --rate 2.5 --burst 9 --inbound 65536 --log l"
        argv += f" --operator {'1' * 30}"
        argv += " --trust-proxy 10.1.2.3/8 --trust-proxy ::1 --trust-proxy unix"
        assert load_server(argv.split(), {}) == ServerConfig(
            password="x",
            port=5,
            hosts=("a", "::1"),
            room_size=7,
            rooms=0,
            threads=3,
            grace_s=1.5,
            data="d",
            rate=2.5,
            burst=9.0,
            inbound_bytes_s=65_536.0,
            log="l",
            operators=("1" * 30,),
            proxies=("10.0.0.0/8", "::1/128", "unix"),
        )
        assert load_server(["--port", "65535"], {}).port == 65_535
        assert load_server([], {}).port == DEFAULT_PORT == 1719

    def test_a_fingerprint_as_it_is_shown(self) -> None:
        shown = " ".join(["12345"] * 6)
        argv = ["--operator", shown, "--operator", "1" * 30]
        assert load_server(argv, {}).operators == ("12345" * 6, "1" * 30)

    @pytest.mark.parametrize("host", ["", "*"])
    def test_a_host_that_means_every_address(self, host: str) -> None:
        assert load_server(["--host", host, "--host", "a"], {}).hosts == ()

    @pytest.mark.parametrize(
        "argv",
        [
            "--port -1",
            "--port 65536",
            "--port x",
            "--port ١",
            "--port 000000",
            "--room-size 0",
            "--room-size 1001",
            "--room-size 1.5",
            "--rooms -1",
            "--rooms 100001",
            "--threads 257",
            "--grace -1",
            "--grace 86401",
            "--grace nan",
            "--grace inf",
            "--grace x",
            "--rate 0",
            "--rate nan",
            "--burst 0.5",
            "--burst inf",
            "--inbound 65535",
            "--inbound x",
            "--operator ace",
            "--operator " + "1" * 29,
            "--operator " + "\u0661" * 30,
            "--pass x",
            "--nosuch",
            "extra",
            "--port",
        ],
    )
    def test_what_is_wrong(self, argv: str) -> None:
        with pytest.raises(UsageError) as caught:
            load_server(argv.split(), {})
        assert re.fullmatch(r"[A-Z].*\. See server\.py --help\.", str(caught.value))


class TestClient:
    def test_a_key_is_all_it_needs(self) -> None:
        found = load_client([KEY], {})
        assert found == ClientConfig(ticket=KEY, username=found.username, is_made_up=True)
        assert re.fullmatch(r"user_\d{4}", found.username)
        assert (found.room, found.password, found.colour) == ("", None, True)

    def test_every_flag(self) -> None:
        argv = f"{KEY}@host:5 --username Zoë --password x --url ws://h/ --room Team --home h"
        argv += " --ephemeral --plain --no-color --log l --cafile ca"
        assert load_client(argv.split(), {}) == ClientConfig(
            ticket=f"{KEY}@host:5",
            username="Zoë",
            password="x",
            url="ws://h/",
            room="team",
            home="h",
            ephemeral=True,
            plain=True,
            colour=False,
            log="l",
            ca_file="ca",
        )

    def test_flags_of_pipes(self) -> None:
        argv = [KEY, "--username", "ace"]
        found = load_client([*argv, "--send", "--block", "--strict", "--timeout", "5"], {})
        assert found == ClientConfig(
            ticket=KEY, username="ace", sends=True, is_block=True, is_strict=True, timeout_s=5.0
        )
        found = load_client([*argv, "--send", "--tail", "7", "--json"], {})
        assert found == ClientConfig(ticket=KEY, username="ace", sends=True, tail=7, json=True)

    @pytest.mark.parametrize("argv", [["--tail", KEY], [KEY, "--tail"], ["--tail", "--json", KEY]])
    def test_a_tail_without_a_number_does_not_take_the_key(self, argv: list[str]) -> None:
        found = load_client(argv, {})
        assert (found.ticket, found.tail) == (KEY, 0)

    def test_the_environment(self) -> None:
        environ = {
            "TERMCHAT_KEY": KEY,
            "TERMCHAT_PASSWORD": "env",
            "TERMCHAT_HOME": "there",
            "NO_COLOR": "1",
        }
        found = load_client(["--username", "ace"], environ)
        assert found == ClientConfig(
            ticket=KEY, username="ace", password="env", home="there", colour=False
        )
        beaten = load_client(["other", "--password", "", "--home", "here"], environ)
        assert (beaten.ticket, beaten.password, beaten.home) == ("other", "", "here")

    def test_empty_variables_are_none(self) -> None:
        environ = dict.fromkeys(
            ("TERMCHAT_KEY", "TERMCHAT_PASSWORD", "TERMCHAT_HOME", "NO_COLOR"), ""
        )
        found = load_client([], environ)
        assert (found.ticket, found.password, found.home, found.colour) == ("", None, None, True)

    def test_two_dashes_are_a_value_or_refused(self) -> None:
        # By the Python: never is anything but text taken for a password.
        with contextlib.suppress(UsageError):
            assert load_client([KEY, "--password=--"], {}).password == "--"
        with contextlib.suppress(UsageError):
            assert load_server(["--host", "a", "--host=--"], {}).hosts == ("a", "--")

    @pytest.mark.parametrize("room", ["lobby", "LOBBY", ""])
    def test_the_lobby_has_no_name(self, room: str) -> None:
        assert load_client([KEY, "--room", room], {}).room == ""

    @pytest.mark.parametrize(
        "argv",
        [
            ["--username", ""],
            ["--username", "a b"],
            ["--username", "x" * 33],
            ["--room", "a b"],
            ["--room", "x" * 33],
            ["--user", "ace"],
            ["--nosuch"],
            [KEY, "extra"],
            [KEY, "--json"],
            [KEY, "--tail", "--strict"],
            [KEY, "--send", "--json", "--block"],
            [KEY, "--send", "--notify-command", "true"],
            [KEY, "--key-file", "k"],
            [KEY, "--password", "x", "--password-file", "p"],
        ],
    )
    def test_what_is_wrong(self, argv: list[str]) -> None:
        with pytest.raises(UsageError) as caught:
            load_client(argv, {})
        assert "\n" not in str(caught.value)


def test_where_things_live() -> None:
    assert default_home({"XDG_STATE_HOME": "/state"}) == "/state/termchat"
    for environ in ({}, {"XDG_STATE_HOME": ""}):
        assert default_home(environ) == str(Path.home() / ".local" / "state" / "termchat")


class TestFile:
    def test_flags_beat_the_environment_that_beats_the_file_that_beats_the_default(self) -> None:
        write(f"[client]\nkey = {KEY}\npassword = file\nusername = ace\nplain = yes\ncolor=no\n")
        found = load_client([], {})
        assert (found.ticket, found.password, found.username) == (KEY, "file", "ace")
        assert (found.plain, found.colour, found.room, found.peer) == (True, False, "", None)
        environ = {"TERMCHAT_KEY": "env", "TERMCHAT_PASSWORD": "env"}
        found = load_client([], environ)
        assert (found.ticket, found.password) == ("env", "env")
        found = load_client(["flag", "--password", "", "--username", "bea"], environ)
        assert (found.ticket, found.password, found.username) == ("flag", "", "bea")
        assert load_client([""], {}).ticket == KEY

    def test_an_address_with_the_key_beats_the_one_of_the_file(self) -> None:
        write("[client]\nurl = ws://elsewhere:1/\n")
        key = f"{KEY}@here:5"
        assert load_client([key], {}).url == load_client([], {"TERMCHAT_KEY": key}).url == ""
        assert load_client([key, "--url", "ws://flag/"], {}).url == "ws://flag/"
        assert load_client([KEY], {"TERMCHAT_KEY": key}).url == "ws://elsewhere:1/"
        write(f"[client]\nkey = {key}\nurl = ws://elsewhere:1/\n")
        assert load_client([], {}).url == "ws://elsewhere:1/"

    def test_every_value_of_the_server(self) -> None:
        write(
            "[server]\npassword = x\nport = 5\nhost = a, ::1\nroom-size = 7\nrooms = 0\n"
            "threads = 3\ngrace = 1.5\ndata = d\nrate = 2.5\nburst = 9\ninbound = 65536\n"
        )
        expected = ServerConfig(
            password="x",
            port=5,
            hosts=("a", "::1"),
            room_size=7,
            rooms=0,
            threads=3,
            grace_s=1.5,
            data="d",
            rate=2.5,
            burst=9.0,
            inbound_bytes_s=65_536.0,
        )
        path = ["--config", "config.ini"]
        assert load_server(path, {}) == expected
        argv = ["--host", "b", "--port", "6", "--password", "flag"]
        found = load_server(argv, {"TERMCHAT_PASSWORD": "env"})
        assert (found.hosts, found.port, found.password) == (("b",), 6, "flag")
        assert load_server([], {"TERMCHAT_PASSWORD": "env"}).password == "env"

    def test_empty_is_unset(self) -> None:
        write("[server]\npassword =\n")
        assert load_server([], {}) == ServerConfig(hosts=("localhost",))

    def test_settings_of_the_view(self) -> None:
        write("[client]\nnotify_words = lunch deploy\nbell = all\n")
        assert load_client([KEY], {}).options == (
            Option("bell", "all", "bell in [client] of config.ini"),
            Option("notify_words", "lunch deploy", "notify_words in [client] of config.ini"),
        )
        assert set(config.OPTIONS) == set(MEANINGS)

    def test_a_file_here_beats_the_one_at_home(self, tmp_path: Path) -> None:
        write("[client]\nusername = ace\n")
        write("[client]\nusername = bea\nroom = team\n", tmp_path / "home/config.ini")
        found = load_client([KEY, "--home", str(tmp_path / "home")], {})
        assert (found.username, found.room) == ("ace", "team")
        other = write("[client]\nusername = col\n", tmp_path / "other.ini")
        environ = {"TERMCHAT_HOME": str(tmp_path / "home")}
        found = load_client([KEY, "--config", str(other)], environ)
        assert (found.username, found.room) == ("col", "team")

    def test_a_downloaded_folder_runs_no_program(self, tmp_path: Path) -> None:
        here = write("[client]\nnotify_command = rm\n")
        found = load_client([KEY], {})
        assert found.notify_command == ""
        (warning,) = found.warnings
        assert warning.startswith("notify_command is not taken from config.ini")
        found = load_client([KEY, "--config", str(here)], {})
        assert (found.notify_command, found.warnings) == ("rm", ())
        home = write("[client]\nnotify_command = say\n", tmp_path / "home/config.ini")
        argv = [KEY, "--home", str(home.parent), "--notify-command"]
        assert load_client(argv[:-1], {}).notify_command == "say"
        assert load_client([*argv, "call"], {}).notify_command == "call"
        assert load_client([*argv, ""], {}).notify_command == "say"

    def test_nor_does_it_name_operators_or_the_key_of_a_relay(self) -> None:
        write("[server]\ndata = d\nport = 5\n")
        found = load_server([], {})
        assert (found.data, found.port) == (None, 5)
        assert found.warnings == ("data is not taken from config.ini, only from --config.",)
        assert load_server(["--data", "e"], {}).data == "e"
        found = load_server(["--config", "config.ini"], {})
        assert (found.data, found.warnings) == ("d", ())

    def test_nor_does_it_choose_the_room_or_forget_whom_we_trust(self, tmp_path: Path) -> None:
        text = "[client]\nroom = trap\nephemeral = yes\n"
        here = write(text)
        for key in (KEY, f"{KEY}@relay.example"):
            found = load_client([key], {})
            assert (found.room, found.ephemeral) == ("", False)
            assert found.warnings == tuple(
                f"{name} is not taken from config.ini, only from --config or your home folder."
                for name in ("room", "ephemeral")
            )
        assert load_client([KEY, "--room", "den"], {}).room == "den"
        home = write(text, tmp_path / "home/config.ini")
        for more in (["--config", str(here)], ["--home", str(home.parent)]):
            found = load_client([KEY, *more], {})
            assert (found.room, found.ephemeral) == ("trap", True)

    def test_nor_does_it_open_a_relay(self) -> None:
        write("[server]\nhost = *\npassword = known\nport = 5\n")
        found = load_server([], {})
        assert (found.hosts, found.password, found.port) == (("localhost",), None, 5)
        assert found.warnings == tuple(
            f"{name} is not taken from config.ini, only from --config."
            for name in ("password", "host")
        )
        assert load_server([], {"TERMCHAT_PASSWORD": "env"}).password == "env"
        found = load_server(["--config", "config.ini"], {})
        assert (found.hosts, found.password, found.warnings) == ((), "known", ())

    def test_nor_does_it_choose_where_we_write(self) -> None:
        write("[client]\nhome = /somewhere\nlog = /somewhere/else\nlisten = yes\n")
        found = load_client([KEY], {})
        assert (found.home, found.log, found.peer) == (None, None, None)
        assert [warning.split(" in ")[0] for warning in found.warnings] == [
            "Nobody reads home",
            "Nobody reads listen",
            "Nobody reads log",
        ]

    def test_what_nobody_reads_is_named(self) -> None:
        write("[server]\nprot = 5\n[Clients]\nx = 1\n[parameters]\nname = ace\n")
        expected = (
            "Nobody reads prot in [server] of config.ini.",
            "Nobody reads the section [clients] of config.ini.",
            "Nobody reads name in [parameters] of config.ini.",
        )
        assert load_server([], {}).warnings == expected
        assert load_client([KEY], {}).warnings == expected

    def test_a_byte_order_mark_hides_nothing(self) -> None:
        write(f"\ufeff{PARAMETERS}")
        peer = load_client([], {}).peer
        assert peer is not None
        assert peer.port == 50_233

    def test_a_file_of_another_program_is_left_alone(self) -> None:
        write("[video]\nwidth = 640\nnonsense\n", mode=0o666)
        assert load_server([], {}) == ServerConfig(hosts=("localhost",))
        assert refusal("--listen").startswith("There is no [parameters] in config.ini.")

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            ("[server]\nport = x\n", "port in [server] of config.ini is wrong: 'x' is no port"),
            (
                "[server]\ngrace = -1\n",
                "grace in [server] of config.ini is wrong: '-1' is not 0 to",
            ),
            ("[server]\nport = 1\nPort = 2\n", "Line 3 of config.ini says again what stood"),
            ("[server]\n[server]\n", "Line 2 of config.ini says again what stood above it."),
            ("port = 1\n[server]\n", "Line 1 of config.ini is malformed: it is neither"),
            ("[server]\nport\n", "Line 2 of config.ini is malformed: it is neither"),
            ("[server]\nport = \udcff\n", "config.ini is text neither in UTF-8 nor"),
        ],
    )
    def test_what_is_wrong(self, content: str, sentence: str) -> None:
        write("")
        Path("config.ini").write_bytes(content.encode("utf-8", "surrogateescape"))
        with pytest.raises(UsageError) as caught:
            load_server([], {})
        assert str(caught.value).startswith(sentence)

    @pytest.mark.parametrize(
        "section", ["[Server]", "[SERVER]", "[ server ]", "\t[server\t]  ; us"]
    )
    @pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_however_it_was_saved_and_its_section_typed(
        self, section: str, codec: str, end: str
    ) -> None:
        write("")
        lines = ["; ours", section, "port = 5", "password = s\u00e9cret", ""]
        Path("config.ini").write_bytes(end.join(lines).encode(codec))
        found = load_server(["--config", "config.ini"], {})
        assert (found.port, found.password) == (5, "s\u00e9cret")

    def test_one_section_in_two_ways_is_said_again(self) -> None:
        write("[server]\nport = 1\n[ Server ]\nport = 2\n")
        with pytest.raises(UsageError, match=r"^Line 3 of config\.ini says again what stood above"):
            load_server([], {})

    @pytest.mark.parametrize("data", [b"[Server]\nx = \xff", "[server]\n".encode("utf-32")])
    def test_what_is_ours_and_no_text_is_said(self, data: bytes) -> None:
        write("")
        Path("config.ini").write_bytes(data)
        with pytest.raises(
            UsageError, match=r"^config\.ini is text neither in UTF-8 nor in UTF-16"
        ):
            load_server([], {})

    @pytest.mark.parametrize(
        ("written", "read"),
        [
            ("secret", "secret"),
            ('"secret"', "secret"),
            ("'secret'", "secret"),
            ("\u201csecret\u201d", "secret"),
            ('" a secret ; and more # "', " a secret ; and more # "),
            ("''secret''", "'secret'"),
            ("""'"'""", '"'),
            ("it's", "it's"),
            ('5"x3"', '5"x3"'),
            ("a;b#c", "a;b#c"),
            ('""', None),
            ("", None),
        ],
    )
    def test_a_password_is_what_was_meant(self, written: str, read: str | None) -> None:
        write(f"[server]\npassword = {written}\n")
        assert load_server(["--config", "config.ini"], {}).password == read

    @given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1))
    def test_whatever_is_in_quotes_is_itself(self, password: str) -> None:
        for quote in "\"'":
            write(f"[server]\npassword = {quote}{password}{quote}\n")
            assert load_server(["--config", "config.ini"], {}).password == password

    @pytest.mark.parametrize(
        ("written", "sentence"),
        [
            ("secret  ; mine", "password in [server] of config.ini seems to end with a comment."),
            ("secret #1", "password in [server] of config.ini seems to end with a comment."),
            ("# none yet", "password in [server] of config.ini seems to end with a comment."),
            ('"secret" ; mine', "password in [server] of config.ini begins with a quote. Put all"),
            ('"secret', "password in [server] of config.ini begins with a quote. Put all of it"),
            ("'", "password in [server] of config.ini begins with a quote. Put all of it in"),
            ("secret\n  port = 5", "password in [server] of config.ini has a second line. Begin"),
        ],
    )
    def test_what_a_password_is_can_be_seen_or_is_said(self, written: str, sentence: str) -> None:
        write(f"[server]\npassword = {written}\n")
        with pytest.raises(UsageError) as caught:
            load_server([], {})
        assert str(caught.value).startswith(sentence)
        assert "secret" not in str(caught.value)

    def test_what_is_for_the_shell_is_the_shells_to_read(self, tmp_path: Path) -> None:
        command = '"my notifier" "$TERMCHAT_NAME" ; true # enough'
        write(f"[client]\nnotify_command = {command}\n", tmp_path / "home/config.ini")
        assert load_client([KEY, "--home", str(tmp_path / "home")], {}).notify_command == command

    def test_a_home_that_cannot_be_read_is_no_hindrance_to_who_keeps_nothing(self) -> None:
        home = "x" * 5_000  # longer than any path: a way not to be read that holds for root too
        assert load_client([KEY, "--ephemeral"], {"TERMCHAT_HOME": home}).ephemeral
        told = refusal(KEY, "--home", home)
        assert told.endswith(" Use another home with --home DIR, or none with --ephemeral.")

    def test_a_flag_is_yes_or_no(self) -> None:
        write("[client]\nplain = perhaps\n")
        expected = "plain in [client] of config.ini is 'perhaps', which is neither yes nor no."
        assert refusal(KEY) == expected

    @given(st.text(st.sampled_from("[server]port=1 \n\t:#;%"), max_size=60))
    def test_any_text_is_a_file_or_refused(self, content: str) -> None:
        # The file is written anew for each text; the folder is the same.
        write("[server]\n" + content)
        try:
            found = load_server([], {})
        except UsageError as problem:
            assert "config.ini" in str(problem)  # noqa: PT017 - or it is none
        else:
            parser = configparser.ConfigParser(interpolation=None, default_section="")
            parser.read("config.ini")
            assert found.port == int(parser.get("server", "port", fallback="") or DEFAULT_PORT)

    def test_a_file_that_was_named_must_be_there(self) -> None:
        assert refusal(KEY, "--config", "none.ini").startswith("There is no none.ini.")
        assert refusal(KEY, "--config", ".") == ". is not a regular file."

    @pytest.mark.parametrize("secret", ["key", "password"])
    def test_a_secret_that_others_can_read_is_refused(self, secret: str) -> None:
        for mode in (0o644, 0o640, 0o604):
            write(f"[client]\n{secret} = x\n", mode=mode)
            expected = f"Others can read config.ini, and {secret} in it. Run: chmod 600 config.ini"
            assert refusal(KEY) == expected
        write("[client]\nusername = ace\n", mode=0o644)
        assert load_client([KEY], {}).username == "ace"

    def test_a_file_that_others_can_write_is_refused(self) -> None:
        for mode in (0o620, 0o602, 0o666):
            write("[client]\nusername = ace\n", mode=mode)
            assert refusal(KEY) == "Others can write config.ini. Run: chmod 600 config.ini"

    def test_a_file_of_another_user_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write("[client]\nusername = ace\n")
        uid = os.geteuid()
        if uid == 0:  # what root owns is as good as ours
            os.chown("config.ini", 12_345, -1)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
        expected = "config.ini belongs to another user. Use one of your own."
        assert refusal(KEY) == expected


class TestPeer:
    def test_a_file_with_parameters_makes_do_without_key(self) -> None:
        write(PARAMETERS)
        found = load_client([], {})
        peer = PeerConfig("config.ini", "192.168.1.112", 50_233, FERNET_KEY)
        assert (found.peer, found.username, found.ticket) == (peer, "desktop", "")
        assert load_client(["--listen"], {}).peer == peer._replace(mode="listen")
        found = load_client(["--connect", "h:5", "--username", "ace"], {"TERMCHAT_KEY": KEY})
        assert found.peer == peer._replace(mode="connect", address="h:5")
        assert (found.username, found.ticket) == ("ace", "")

    def test_a_key_comes_first(self) -> None:
        write(PARAMETERS)
        for found in (load_client([KEY], {}), load_client([], {"TERMCHAT_KEY": KEY})):
            assert (found.ticket, found.peer) == (KEY, None)
        for flag in (["--listen"], ["--connect", "h:5"]):
            assert refusal(KEY, *flag).endswith("is for a chat without a server, which has no KEY.")

    def test_of_two_files_the_nearer_says_which_kind_of_chat_it_is(self, tmp_path: Path) -> None:
        home = ["--home", str(tmp_path / "home")]
        write(PARAMETERS)
        write(f"[client]\nkey = {KEY}\n", tmp_path / "home/config.ini")
        assert load_client(home, {}).peer is not None
        write(f"[client]\nkey = {KEY}\n")
        write(PARAMETERS, tmp_path / "home/config.ini")
        found = load_client(home, {})
        assert (found.ticket, found.peer) == (KEY, None)

    @pytest.mark.parametrize("name", ["ip", "port", "fernet_key", "username"])
    def test_what_is_missing_is_named(self, name: str) -> None:
        rows = [row for row in PARAMETERS.splitlines() if not row.startswith(name)]
        for content in (rows, [*rows, f"{name} ="]):
            write("\n".join(content))
            assert refusal() == f"There is no {name} in [parameters] of config.ini."

    @pytest.mark.parametrize(
        ("name", "value", "sentence"),
        [
            ("ip", "desktop", "is 'desktop', which is no IP address."),
            ("ip", "1.2.3", "is '1.2.3', which is no IP address."),
            ("port", "0", "is 0, which nobody can connect to."),
            ("port", "65536", "is wrong: '65536' is no port, which is 0 to 65535."),
            ("username", "a b", "cannot be used: A username has no spaces or control"),
        ],
    )
    def test_what_is_wrong_is_named(self, name: str, value: str, sentence: str) -> None:
        write(re.sub(rf"{name} = .*", f"{name} = {value}", PARAMETERS))
        assert refusal("--listen").startswith(f"{name} in [parameters] of config.ini {sentence}")

    def test_no_parameters(self) -> None:
        for content in (None, "[client]\nusername = ace\n"):
            if content:
                write(content)
            expected = "There is no [parameters] in config.ini. client.py --init writes it."
            assert refusal("--listen") == expected
            assert load_client([], {}).ticket == ""

    def test_one_way_at_a_time(self) -> None:
        for argv in (["--listen", "--connect", "h:5"], ["--init", "--genkey"]):
            assert "not allowed with argument" in refusal(*argv)
        assert load_client(["--genkey", "--connect", ""], {}).task == "genkey"

    def test_tasks_need_no_file(self) -> None:
        write("nonsense [server]\n[server]\nx\n")
        assert load_client(["--genkey"], {}).task == "genkey"
        found = load_client(["--init", "--config", "other.ini"], {})
        assert (found.task, found.file) == ("init", "other.ini")

    def test_the_sample_is_read_back(self) -> None:
        write(sample("10.0.0.7", "desktop", FERNET_KEY))
        found = load_client([], {})
        peer = PeerConfig("config.ini", "10.0.0.7", config.PEER_PORT, FERNET_KEY)
        assert (found.peer, found.username, found.warnings) == (peer, "desktop", ())
        write(sample("10.0.0.7", "desktop", FERNET_KEY).replace("# [", "[").replace("# key", "key"))
        assert load_client([], {}).ticket == "what a server printed"

    def test_nobody_overwrites_a_file(self) -> None:
        from common.files import create_own

        path = Path("config.ini")
        create_own(path, b"mine")
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(FileError) as caught:
            create_own(path, b"theirs")
        assert str(caught.value) == "config.ini is there already. Nothing was changed."
        assert path.read_bytes() == b"mine"
        with pytest.raises(FileError):
            create_own(Path("none/config.ini"), b"")


class TestPassphrase:
    def file(self, path: Path, content: bytes) -> str:
        path.write_bytes(content)
        path.chmod(0o600)
        return str(path)

    @pytest.mark.parametrize(
        "content", [b"zo\xc3\xab x", b"zo\xc3\xab x\n", b"zo\xc3\xab x\r\nno\n"]
    )
    def test_it_is_the_first_line_of_its_file(self, tmp_path: Path, content: bytes) -> None:
        path = self.file(tmp_path / "pass", content)
        assert load_client([KEY, "--passphrase-file", path], {}).passphrase == "zoë x"

    @pytest.mark.parametrize("content", [b"", b"\n", b"\nsecond", b"\xff\n"])
    def test_a_file_without_one(self, tmp_path: Path, content: bytes) -> None:
        path = self.file(tmp_path / "pass", content)
        with pytest.raises(FileError, match="no line of text that could be Passphrase"):
            load_client([KEY, "--passphrase-file", path], {})

    def test_a_file_that_is_not_there_or_not_private(self, tmp_path: Path) -> None:
        path = tmp_path / "pass"
        with pytest.raises(FileError, match=r"Cannot read .*: No such file"):
            load_client([KEY, "--passphrase-file", str(path)], {})
        self.file(path, b"x")
        path.chmod(0o644)
        with pytest.raises(FileError, match="Others can read"):
            load_client([KEY, "--passphrase-file", str(path)], {})

    def test_where_nothing_is_kept_nothing_is_encrypted(self, tmp_path: Path) -> None:
        path = self.file(tmp_path / "pass", b"x")
        for more in (["--passphrase"], ["--passphrase-file", path]):
            with pytest.raises(UsageError, match="--ephemeral"):
                load_client([KEY, "--ephemeral", *more], {})

    def test_the_identity_is_in_its_home(self) -> None:
        settings = load_client([KEY, "--home", "/h"], {})
        assert identity_path(settings, {}) == "/h/identity"
        settings = load_client([KEY], {})
        assert identity_path(settings, {"XDG_STATE_HOME": "/s"}) == "/s/termchat/identity"
