"""A flag beats the environment, which beats the default; what is wrong is said in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from common.config import (
    DEFAULT_PORT,
    ClientConfig,
    ServerConfig,
    default_home,
    load_client,
    load_server,
)
from common.errors import UsageError

KEY = "jJkle3WNf2SBFqJsqkkXULGCvpWOk_X5ELsHsb7-13H3"


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
        assert load_server(["--password", ""], environ).password == ""

    def test_an_empty_variable_is_none(self) -> None:
        assert load_server([], {"TERMCHAT_PASSWORD": ""}) == ServerConfig(hosts=("localhost",))

    def test_every_flag(self) -> None:
        argv = "--password x -p 5 --host a --host ::1 --room-size 7 --rooms 0 --threads 3"
        argv += " --grace 1.5 --data d --rate 2.5 --burst 9 --inbound 65536"
        assert load_server(argv.split(), {}) == ServerConfig(
            password="x",
            port=5,
            hosts=("a", "::1"),
            room_size=7,
            rooms=0,
            threads=3,
            grace_s=1.5,
            data=Path("d"),
            rate=2.5,
            burst=9.0,
            inbound_bytes_s=65_536.0,
        )
        assert load_server(["--port", "65535"], {}).port == 65_535
        assert load_server([], {}).port == DEFAULT_PORT == 1719

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
        assert found == ClientConfig(ticket=KEY, username=found.username)
        assert re.fullmatch(r"user_\d{4}", found.username)
        assert (found.room, found.password, found.colour) == ("", None, True)

    def test_every_flag(self) -> None:
        argv = f"{KEY}@host:5 --username Zoë --password x --url ws://h/ --room Team --home h"
        argv += " --ephemeral --plain --no-color --log l"
        assert load_client(argv.split(), {}) == ClientConfig(
            ticket=f"{KEY}@host:5",
            username="Zoë",
            password="x",
            url="ws://h/",
            room="team",
            home=Path("h"),
            ephemeral=True,
            plain=True,
            colour=False,
            log=Path("l"),
        )

    def test_the_environment(self) -> None:
        environ = {
            "TERMCHAT_KEY": KEY,
            "TERMCHAT_PASSWORD": "env",
            "TERMCHAT_HOME": "there",
            "NO_COLOR": "1",
        }
        found = load_client(["--username", "ace"], environ)
        assert found == ClientConfig(
            ticket=KEY, username="ace", password="env", home=Path("there"), colour=False
        )
        beaten = load_client(["other", "--password", "", "--home", "here"], environ)
        assert (beaten.ticket, beaten.password, beaten.home) == ("other", "", Path("here"))

    def test_empty_variables_are_none(self) -> None:
        environ = dict.fromkeys(
            ("TERMCHAT_KEY", "TERMCHAT_PASSWORD", "TERMCHAT_HOME", "NO_COLOR"), ""
        )
        found = load_client([], environ)
        assert (found.ticket, found.password, found.home, found.colour) == ("", None, None, True)

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
        ],
    )
    def test_what_is_wrong(self, argv: list[str]) -> None:
        with pytest.raises(UsageError) as caught:
            load_client(argv, {})
        assert "\n" not in str(caught.value)


def test_where_things_live() -> None:
    assert default_home({"XDG_STATE_HOME": "/state"}) == Path("/state/termchat")
    for environ in ({}, {"XDG_STATE_HOME": ""}):
        assert default_home(environ) == Path.home() / ".local" / "state" / "termchat"
