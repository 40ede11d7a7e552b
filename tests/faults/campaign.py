"""Random faults against a real relay and real sockets, for as long as you like.

    python tests/faults/campaign.py --runs 20 --data
    python tests/faults/campaign.py --seconds 600 --data
    python tests/faults/campaign.py --kills 100

Every run has a seed, which it prints; `--seed S --runs 1` does that one again. What must hold is in
`Campaign.judge`: no line that its sender saw echoed is lost to a member who was there, none is
shown twice, all agree on the order, and none leaves an outbox without an echo or a report.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import secrets
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from common.crypto import ticket
from common.member.conversation import Phase
from tests.faults.member import Ledger, Member
from tests.faults.proxy import Proxy
from tests.faults.relay import ROOT, Relay

SETTLE_S = 40.0
TURN_S = 0.01
PASSWORD = "top_secret"


class Act(Enum):
    """What a schedule may hold."""

    WIRE = auto()  # a fault of one connection
    UNPLUG = auto()  # the whole network, for a while
    REDIAL = auto()  # a member takes its connection for dead while it is not
    STOP = auto()  # the relay does nothing for a while
    KILL = auto()
    TERM = auto()
    FULL = auto()  # its disk, for a while


NETWORK = [*3 * [Act.WIRE], Act.UNPLUG, Act.REDIAL, Act.STOP]
STORED = [*NETWORK, Act.KILL, Act.TERM, Act.FULL]


@dataclass
class Plan:
    """What one run is like."""

    seed: int
    seconds: float
    rooms: int
    people: int
    rate: float
    """Lines per second, of all together."""
    faults_s: float
    """Mean time between two faults; 0: none."""
    grace_s: float
    has_data: bool
    speed: float
    clients: int = 0
    """Processes of client.py in the first room."""

    @classmethod
    def random(cls, seed: int, seconds: float, *, has_data: bool) -> Plan:
        """Choose by the seed."""
        rng = Random(seed)
        return cls(
            seed=seed,
            seconds=seconds,
            rooms=rng.choice([1, 1, 2]),
            people=rng.randint(2, 4),
            rate=rng.choice([4.0, 20.0, 40.0]),
            faults_s=rng.choice([0.1, 0.3, 0.6]),
            grace_s=rng.choice([0.5, 2.0, 120.0, 120.0]),
            has_data=has_data,
            speed=10.0,
        )


@dataclass
class Result:
    """What one run came to."""

    said: int = 0
    echoed: int = 0
    reported: int = 0
    rejoins: int = 0
    outages: list[tuple[float, float]] = field(default_factory=list)
    """How long the relay was down, and how long then the last member was not back."""


class Client:
    """A process of client.py in line mode."""

    def __init__(self, relay: Relay, port: int, name: str, directory: Path) -> None:
        self.name = name
        self._output = directory / f"{name}.out"
        where = f"{relay.key_text}@localhost:{port}"
        command = [sys.executable, str(ROOT / "client.py"), where, "--username", name]
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, "--plain", "--ephemeral"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
            )

    @property
    def rows(self) -> list[str]:
        """What it has shown."""
        return self._output.read_text().splitlines()

    @property
    def here(self) -> int:
        """How many it sees in its room; 0 until it is there itself."""
        assert self._process.poll() is None, self.rows
        counts = [row.partition("Users Connected: ")[2] for row in self.rows]
        return int(next(filter(None, reversed(counts)), 0))

    @property
    def said(self) -> list[str]:
        """Texts, in the order in which it has shown them."""
        return [found[1] for row in self.rows if (found := re.match(r"\d\d:\d\d \S+: (.*)", row))]

    def say(self, text: str) -> None:
        """Type a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n".encode())

    def end_input(self) -> None:
        """End its input: it leaves once all is echoed, and says so by its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    @property
    def has_left(self) -> bool:
        """Whether it has left, with nothing unsaid."""
        assert self._process.poll() in (None, 0), self.rows[-20:]
        return self._process.poll() == 0

    def close(self) -> None:
        """End it, however it is."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(SETTLE_S)
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()


class Campaign:
    """One run: a relay, a proxy, and people who talk while everything fails."""

    def __init__(self, plan: Plan, directory: Path, psks: dict[bytes, bytes]) -> None:
        self.plan = plan
        self.rng = Random(plan.seed)
        self.ledger = Ledger()
        self.deeds: list[str] = []
        self._began_s = time.monotonic()
        self._undo: list[tuple[float, str]] = []
        self.data = directory / "data"
        more = ["--data", str(self.data)] if plan.has_data else []
        self.relay = Relay(directory, ["--grace", str(plan.grace_s), *more])
        self.proxy = Proxy(self.relay.port)
        key = self.relay.key
        if key not in psks:
            psks[key] = ticket.derive_psk(PASSWORD, key)
        self.members = [
            Member(
                self.ledger,
                key,
                psks[key],
                self.proxy.port,
                f"room{room}" if room else "",
                f"m{room}x{number}",
                Random(self.rng.random()),
                plan.speed,
            )
            for room in range(plan.rooms)
            for number in range(plan.people)
        ]
        self.clients = [
            Client(self.relay, self.proxy.port, f"c{number}", directory)
            for number in range(plan.clients)
        ]
        self.typed: dict[str, Client] = {}

    def close(self) -> None:
        """End everything."""
        for client in self.clients:
            client.close()
        for member in self.members:
            member.close()
        self.proxy.close()
        self.relay.close()

    # --- The loop.

    def turn(self) -> None:
        """Wait for a socket, and let everybody do what is due."""
        now = time.monotonic()
        readers = self.proxy.readers(now)
        fds = [member.fd for member in self.members if member.fd is not None]
        socks = {sock.fileno(): sock for sock in readers}
        ready = set(select.select([*socks, *fds], [], [], TURN_S)[0])
        now = time.monotonic()
        self.proxy.turn({socks[fd] for fd in ready & socks.keys()}, now)
        for member in self.members:
            member.turn(is_ready=member.fd in ready, now=now)

    def turn_for(self, seconds: float) -> None:
        """Go on for some time."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.turn()

    def until_live(self) -> None:
        """Wait until everybody is in."""
        # What is said before everybody has seen everybody is not for those who came too late.
        self._until(lambda: all(m.is_live for m in self.members) and self._all_see_all())

    def _all_see_all(self) -> bool:
        rooms = Counter(member.conversation.room for member in self.members)
        rooms[""] += len(self.clients)
        return all(
            len(member.conversation.peers) + 1 == rooms[member.conversation.room]
            for member in self.members
        ) and all(client.here == rooms[""] for client in self.clients)

    def _states(self) -> list[str]:
        states = [(m.name, m.conversation.phase.name, m.conversation.waiting) for m in self.members]
        return [*map(str, states), *self.deeds[-10:]]

    # --- Talk and faults.

    def talk(self, seconds: float) -> None:
        """Let people talk while faults happen."""
        now = time.monotonic()
        end_s, say_at_s, fault_at_s = now + seconds, now, now + self._pause_s()
        while (now := time.monotonic()) < end_s:
            while now >= say_at_s:
                say_at_s += 1 / self.plan.rate
                self._say()
            if self.plan.faults_s and now >= fault_at_s:
                fault_at_s = now + self._pause_s()
                self._fault(now)
            self._undo_due(now)
            self.turn()

    def _pause_s(self) -> float:
        return self.rng.expovariate(1 / self.plan.faults_s) if self.plan.faults_s else 0.0

    def _say(self) -> None:
        speaker = self.rng.randrange(len(self.members) + len(self.clients))
        if speaker >= len(self.members):
            client = self.clients[speaker - len(self.members)]
            text = f"{client.name} line {len(self.ledger.lines)}"
            self.typed[text] = client
            self.ledger.put(None, text, is_direct=False)
            client.say(text)
            return
        member = self.members[speaker]
        peers = list(member.conversation.peers.values())
        to = self.rng.choice(peers) if peers and self.rng.random() < 0.2 else None
        member.say(f"{member.name} line {len(self.ledger.lines)}", to)

    def _fault(self, now: float) -> None:
        act = self.rng.choice(STORED if self.plan.has_data else NETWORK)
        deed = act.name
        after_s = self.rng.uniform(0.0, 1.0)
        pending = {what for _, what in self._undo}
        match act:
            case Act.WIRE:
                deed = self.proxy.suffer(self.rng, now)
            case Act.UNPLUG:
                self.proxy.unplug()
                self._undo.append((now + after_s, "plug"))
            case Act.REDIAL:
                self.rng.choice(self.members).redial(now)
            case Act.STOP if not pending & {"start", "go on"}:
                self.relay.stop()
                self._undo.append((now + after_s, "go on"))
            case Act.KILL if not pending & {"start", "go on"}:
                self.relay.kill()
                self._undo.append((now + after_s, "start"))
            case Act.TERM if not pending & {"start", "go on"}:
                self.relay.terminate()
                self._undo.append((now + after_s, "start"))
            case Act.FULL if not pending & {"start", "go on", "free"} and self.relay.listens():
                self.relay.fill_disk(is_full=True)
                self._undo.append((now + 3 * after_s, "free"))
            case _:
                return
        self.deeds.append(f"{now - self._began_s:6.2f} {deed}")

    def _undo_due(self, now: float) -> None:
        for at_s, what in [entry for entry in self._undo if entry[0] <= now]:
            self._undo.remove((at_s, what))
            match what:
                case "plug":
                    self.proxy.is_unplugged = False
                case "go on":
                    self.relay.go_on()
                case "start":
                    self.relay.restart()
                case _:
                    self.relay.fill_disk(is_full=False)

    def settle(self) -> None:
        """Mend everything, and go on until nobody has anything left to do."""
        self._undo_due(float("inf"))
        self.proxy.heal()
        self._until(self._is_quiet)

    def _until(self, holds: Callable[[], bool]) -> None:
        end_s = time.monotonic() + SETTLE_S
        while not holds():
            assert time.monotonic() < end_s, f"in vain: {self._states()}"
            self.turn()

    def _is_quiet(self) -> bool:
        if not all(member.is_done for member in self.members):
            return False
        for client in self.clients:
            shown = set(client.said)
            if not all(text in shown for text in self.typed):
                return False
        conversations = [member.conversation for member in self.members]
        transcripts = [(conv.room, conv._reader.transcript) for conv in conversations]
        heads = {(room, transcript and transcript.h) for room, transcript in transcripts}
        return len(heads) == self.plan.rooms and self._is_all_read()

    def _is_all_read(self) -> bool:
        """Whether each line was shown to a member; who has joined anew cannot read every one."""
        has_rejoined = any(member.rejoins for member in self.members)
        return has_rejoined or all(
            spoken.is_direct or spoken.is_reported or spoken.place is not None
            for spoken in self.ledger.lines.values()
        )

    # --- The judge.

    def judge(self) -> Result:
        """Check what must hold once all is quiet; much was checked as it came."""
        for member in self.members:
            assert member.conversation.phase is Phase.LIVE
            member.check()
        for spoken in self.ledger.lines.values():
            is_over = spoken.is_echoed + spoken.is_reported == 1
            assert is_over or spoken.by is None, f"{spoken.text!r} has vanished"
        assert self._is_all_read()
        for client in self.clients:
            client.end_input()
        self._until(lambda: all(client.has_left for client in self.clients))
        self._judge_clients()
        return Result(
            said=len(self.ledger.lines),
            echoed=sum(s.is_echoed for s in self.ledger.lines.values()) + len(self.typed),
            reported=sum(spoken.is_reported for spoken in self.ledger.lines.values()),
            rejoins=sum(member.rejoins for member in self.members),
        )

    def _judge_clients(self) -> None:
        """Compare what the clients printed with one another, from where the last of them was in."""
        shown = [client.said for client in self.clients]
        for said in shown:
            assert len(said) == len(set(said)), "a line is printed twice"
        common = set(shown[0]).intersection(*shown) if shown else set()
        orders = {tuple(text for text in said if text in common) for said in shown}
        assert len(orders) <= 1, "clients differ in order"
        for text in self.typed:
            lacking = [client for client in self.clients if text not in client.said]
            assert not lacking, f"{text!r} is not on {lacking[0].rows}"


@contextlib.contextmanager
def running(plan: Plan, psks: dict[bytes, bytes]) -> Iterator[Campaign]:
    """Set one run up, and clear away after it; what fails is told with how to do it again."""
    with tempfile.TemporaryDirectory(prefix="termchat-faults-") as directory:
        campaign = Campaign(plan, Path(directory), psks)
        try:
            try:
                yield campaign
            except BaseException:
                print("\n".join(["", *campaign.deeds[-40:], repr(plan)]), file=sys.stderr)
                raise
        finally:
            campaign.close()


def run(plan: Plan, psks: dict[bytes, bytes]) -> Result:
    """Do one run of random faults."""
    with running(plan, psks) as campaign:
        campaign.until_live()
        campaign.talk(plan.seconds)
        campaign.settle()
        return campaign.judge()


def kill(plan: Plan, psks: dict[bytes, bytes], kills: int) -> Result:
    """Kill the relay and start it again, so many times, under load; measure who is back when."""
    outages: list[tuple[float, float]] = []
    with running(plan, psks) as campaign:
        campaign.until_live()
        for _ in range(kills):
            campaign.talk(campaign.rng.uniform(0.3, 1.5))
            campaign.relay.kill()
            killed_s = time.monotonic()
            campaign.talk(campaign.rng.uniform(0.0, 0.4))
            for member in campaign.members:
                member.live_at_s = 0.0
            campaign.relay.restart()
            while not campaign.relay.listens():
                assert time.monotonic() < killed_s + SETTLE_S, "the relay does not come back"
                campaign.talk(TURN_S)
            up_s = time.monotonic()
            while not all(member.is_live for member in campaign.members):
                assert time.monotonic() < up_s + SETTLE_S, campaign._states()
                campaign.talk(TURN_S)
            back_s = max(member.live_at_s for member in campaign.members) - up_s
            outages.append((up_s - killed_s, max(0.0, back_s)))
        campaign.settle()
        result = campaign.judge()
        result.outages = outages
        return result


def main(argv: list[str]) -> int:
    """Run, print, and say how to do a failure again."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=0, help="so many runs")
    parser.add_argument("--seconds", type=float, default=60.0, help="or runs for so long")
    parser.add_argument("--kills", type=int, default=0, help="instead: kill -9 under 200 lines/s")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="of the first run")
    parser.add_argument("--data", action="store_true", help="the relay has a stored log, and dies")
    parser.add_argument("--clients", type=int, default=0, help="processes of client.py in each run")
    parser.add_argument("--length", type=float, default=2.0, help="seconds of faults in a run")
    given = parser.parse_args(argv)
    psks: dict[bytes, bytes] = {}
    if given.kills:
        plan = Plan(given.seed, 0.0, 4, 6, 200.0, 0.0, 120.0, True, 1.0, given.clients)
        print(f"seed {given.seed}: {given.kills} kills", flush=True)
        _tell(kill(plan, psks, given.kills))
        return 0
    began_s, done, total = time.monotonic(), 0, Result()
    while done < given.runs if given.runs else time.monotonic() < began_s + given.seconds:
        plan = Plan.random(given.seed + done, given.length, has_data=given.data)
        plan.clients = given.clients
        if given.clients:
            plan.grace_s = 120.0
        if sys.stdout.isatty():
            print(f"seed {plan.seed}", end="\r", flush=True)
        try:
            result = run(plan, psks)
        except BaseException:
            print(f"seed {plan.seed} fails: --seed {plan.seed} --runs 1", file=sys.stderr)
            raise
        done += 1
        total.said += result.said
        total.echoed += result.echoed
        total.reported += result.reported
        total.rejoins += result.rejoins
    print(f"{done} runs from seed {given.seed}, {time.monotonic() - began_s:.0f} s")
    _tell(total)
    return 0


def _tell(result: Result) -> None:
    print(
        f"{result.said} lines said, {result.echoed} echoed, {result.reported} reported, "
        f"{result.rejoins} sessions given up; 0 lost, doubled, out of order or vanished"
    )
    for what, outages in (
        ("under 1 s", [back for down, back in result.outages if down < 1]),
        ("longer", [back for down, back in result.outages if down >= 1]),
    ):
        if outages:
            print(
                f"down {what}, {len(outages)} times: the last member is live after a median of "
                f"{statistics.median(outages):.2f} s, at most {max(outages):.2f} s"
            )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
