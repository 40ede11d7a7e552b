"""No cut of the wire loses or doubles a line, and all members agree on one history."""

from __future__ import annotations

from enum import Enum, auto
from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.crypto.identity import Identity
from common.log import memory
from common.member.conversation import Phase
from common.relay import room
from tests.sim.test_sim_operators import orders
from tests.sim.world import Person, World

NAMES = ["ace", "bea", "col"]
IDENTITIES = [Identity.generate() for _ in NAMES]


class Act(Enum):
    """What may happen next."""

    DIAL = auto()
    FLOW = auto()
    SAY = auto()
    WHISPER = auto()
    TURN = auto()
    RELAY = auto()
    UP = auto()
    DOWN = auto()
    CUT_UP = auto()
    CUT_DOWN = auto()
    NOTICE = auto()
    PAUSE = auto()
    WAIT = auto()
    LATE = auto()
    QUIT = auto()
    MUTE = auto()
    UNMUTE = auto()
    SLOW = auto()
    SWIFT = auto()


HUSHING = [Act.MUTE, Act.UNMUTE, Act.SLOW, Act.SWIFT]
# Some acts are worth more than others: without these, little gets said.
WEIGHTED = [
    *(act for act in Act if act not in HUSHING),
    *3 * [Act.FLOW, Act.SAY],
    *2 * [Act.WHISPER, Act.TURN, Act.NOTICE, Act.WAIT],
]
STEPS = st.lists(
    st.tuples(st.sampled_from(WEIGHTED), st.integers(0, len(NAMES) - 1), st.integers(0, 3000)),
    min_size=30,
    max_size=60,
)


def do(world: World, act: Act, person: Person, amount: int) -> None:
    connection = person.connection
    world.now += 0.05
    match act:
        case Act.DIAL:
            person.dial()
        case Act.FLOW:
            person.dial()
            for late in range(4):
                person.turn()
                if late == amount % 6:
                    world.carry_all()
                if person.connection:
                    person.connection.up.carry()
                world.relay.turn()
                if person.connection:
                    person.connection.down.carry()
            person.turn()
        case Act.SAY if person.conv.phase is not Phase.ENDED:
            person.say()
        case Act.WHISPER if person.conv.phase is not Phase.ENDED:
            peers = list(person.conv.peers.values())
            if peers:
                person.say(peers[amount % len(peers)])
        case Act.TURN:
            person.turn()
        case Act.RELAY:
            world.relay.turn()
        case Act.UP if connection:
            connection.up.carry(amount)
        case Act.DOWN if connection:
            connection.down.carry(amount)
        case Act.CUT_UP if connection:
            connection.up.cut()
        case Act.CUT_DOWN if connection:
            connection.down.cut()
        case Act.NOTICE:
            # The client sees that it is cut off; what it sent may still arrive, and late.
            person.notice()
        case Act.LATE:
            # Also what was sent on connections that their clients have given up.
            world.carry_all()
        case Act.PAUSE:
            world.now += amount / 1000
        case Act.WAIT:
            world.wait(amount / 60)
        case Act.QUIT if person.conv.phase is Phase.LIVE:
            person.quit()
        case Act.QUIT if person.conv.phase is Phase.ENDED and person.connection is None:
            person.start()
        case Act.MUTE | Act.UNMUTE:
            orders(world, f"/{act.name.lower()} {person.name}")
        case Act.SLOW | Act.SWIFT:
            orders(world, "/slow 5" if act is Act.SLOW else "/slow 0")
        case _:
            pass


HUSHED = st.lists(
    st.tuples(
        st.sampled_from([*WEIGHTED, *2 * HUSHING]),
        st.integers(0, len(NAMES) - 1),
        st.integers(0, 3000),
    ),
    min_size=30,
    max_size=60,
)


# What is logged after our LEAVE may come with it; it is sealed to others.
AFTER_LEAVE = [
    *2 * [(Act.FLOW, 0, 0)],
    (Act.FLOW, 2, 0),
    (Act.SAY, 2, 0),
    (Act.CUT_UP, 1, 0),
    (Act.WAIT, 0, 2400),
    (Act.FLOW, 0, 0),
    *2 * [(Act.FLOW, 2, 0)],
    (Act.SAY, 2, 0),
    (Act.QUIT, 0, 0),
]


@example(steps=AFTER_LEAVE, capacity=700)
@settings(max_examples=50)
@given(steps=STEPS, capacity=st.sampled_from([700, 5_000, 1 << 20]))
def test_no_line_is_lost_or_doubled_and_all_agree(
    steps: list[tuple[Act, int, int]], capacity: int
) -> None:
    with World(NAMES, IDENTITIES, capacity=capacity, grace_s=30.0) as world:
        for person in world.people:
            do(world, Act.FLOW, person, 0)
        for act, index, amount in steps:
            do(world, act, world.people[index], amount)
        world.settle()
        world.check()


@settings(max_examples=50)
@given(steps=HUSHED, window=st.sampled_from([1, 4096]), retained=st.sampled_from([4, 4096]))
def test_what_the_relay_refuses_leaves_no_gap_that_looks_like_an_attack(
    steps: list[tuple[Act, int, int]], window: int, retained: int
) -> None:
    """Nobody is warned of anything, whatever is refused (4.5, 410, 412), whichever way is cut."""
    with (
        World(NAMES, IDENTITIES, grace_s=30.0) as world,
        mock.patch.object(room, "SEEN_WINDOW", window),
        mock.patch.object(memory, "RETAINED_ROOM", retained),
    ):
        for person in world.people:
            do(world, Act.FLOW, person, 0)
        for act, index, amount in steps:
            do(world, act, world.people[index], amount)
        orders(world, *(f"/unmute {name}" for name in NAMES), "/slow 0")
        world.settle()
        world.check()
