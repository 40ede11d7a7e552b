"""A relay and its members talk."""

from __future__ import annotations

import re

from tests.e2e.harness import House, Lines, Screen


def test_three_members_see_the_same_lines_in_the_same_order(house: House) -> None:
    relay = house.relay()
    ace = house.screen(relay, "ace")
    ace.wait_for("Connected to lobby as ace.")
    bea = house.screen(relay, "bea", rows=10, columns=40)
    bea.wait_for("2 here: bea, ace.")
    ace.wait_for("bea joined (fingerprint")
    ace.wait_for("2 here")
    eve = house.lines(relay, "eve")
    eve.wait_for("You are connected as `eve`.")
    eve.wait_for("3 here: eve, ace, bea.")
    for screen in (ace, bea):
        screen.wait_for("eve joined (fingerprint")
    assert re.search(r"eve joined \(fingerprint \d{5}, first seen\)\. 3 here", ace.drawn)

    members: tuple[Screen | Lines, ...] = (ace, bea, eve)
    for turn in range(2):
        for member in members:
            member.say(f"said {turn} by {members.index(member)}")
    for member in members:
        for turn in range(2):
            for number in range(3):
                member.wait_for(f"said {turn} by {number}")
    orders = [
        re.findall(r"said (\d by \d)", "\n".join(rows))
        for rows in (ace.display, bea.display, eve.rows)
    ]
    assert sorted(orders[0]) == sorted({f"{turn} by {n}" for turn in range(2) for n in range(3)})
    assert orders[0] == orders[1] == orders[2]

    ace.say("exit")
    ace.wait_for("Enter goodbye text (optional):")
    ace.say("so long")
    assert ace.ended() == 0
    for member in members[1:]:
        member.wait_for("ace: so long")
    bea.wait_for("-- ace left")
    assert re.search(r"ace left( after \d+ \w+)?\. 2", bea.drawn.replace("\n|", ""))
    eve.wait_for("-- ace left. 2 here")
    eve.wait_for("Users Connected: 2")
    eve.say("exit")
    eve.wait_for("Enter goodbye text (optional):")
    eve.say("")
    assert eve.ended() == 0
    bea.wait_for("eve left")
    bea.type(b"\x04")
    assert bea.ended() == 0
    relay.wait_for("[Disconnected] Username: bea")


def test_another_name_is_one_row_and_the_same_person(house: House) -> None:
    relay = house.relay()
    bea = house.lines(relay, "bea")
    bea.wait_for("You are connected")
    ace = house.screen(relay, "ace")
    ace.wait_for("2 here: ace, bea.")
    ace.say("/nick bea")
    ace.wait_for("The name bea is in use. You stay ace.")
    ace.say("/nick ada")
    ace.wait_for("You are now ada. 2 here.")
    ace.say("the same as ever")
    bea.wait_for("ada: the same as ever")
    assert [row[6:] for row in bea.rows if " is now " in row] == ["-- ace is now ada. 2 here"]
    assert not any("left" in row for row in bea.rows)
    ace.type(b"\x04")
    assert ace.ended() == 0
