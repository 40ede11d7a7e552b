"""Show where a second of the relay's CPU goes: per message in, and per flush out.

`.venv/bin/python tests/bench/cost.py --n 100 --window 512` runs the relay's loop under cProfile,
by CPU time, drives it as fanout.py does, and prints what each function cost itself, by the message
that came in. Python functions look dearer than they are beside those of C. `--single` sends one
record in a frame; `--rooms 10 --idle 1 --n 1000` profiles admissions (per connection) instead.
"""

from __future__ import annotations

import cProfile
import pstats
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FANOUT = Path(__file__).with_name("fanout.py")
ROWS = 30


def serve(argv: list[str]) -> int:
    """Run the relay, its loop profiled into the file named first."""
    sys.path.insert(0, str(ROOT))
    import server

    profile = cProfile.Profile(time.thread_time)
    run = server.LoopThread._run
    profiled = lambda self: profile.runcall(run, self)  # noqa: E731
    server.LoopThread._run = profiled  # type: ignore[method-assign]
    code = server.main(argv[1:])
    profile.dump_stats(argv[0])
    return code


def main(argv: list[str]) -> None:
    if {"-h", "--help"} & set(argv):
        print(__doc__)
        return
    with tempfile.TemporaryDirectory() as folder:
        stats, output = Path(folder, "stats"), Path(folder, "output")
        command = [sys.executable, __file__, "serve", str(stats), "--password", "bench"]
        command += ["--host", "127.0.0.1", "--port", "17099", "--room-size", "1000"]
        command += ["--rate", "1e9", "--burst", "1e9", "--inbound", "1e12"]
        with (
            output.open("wb") as out,
            subprocess.Popen(command, stdout=out) as relay,
        ):
            while b"Key: " not in output.read_bytes():
                if relay.poll() is not None:
                    sys.exit("The relay did not start.")
            asked = ["--port", "17099", "--pid", str(relay.pid), "--output", str(output)]
            done = subprocess.run(
                [sys.executable, FANOUT, "generate", *asked, *argv],
                check=True,
                capture_output=True,
                text=True,
            )
            relay.terminate()
            relay.wait(10)
        found = dict(pair.split("=", 1) for pair in done.stdout.split())
        unit = float(found.get("msgs", 0)) or float(found["n"])
        show(pstats.Stats(str(stats)), unit)


def show(stats: pstats.Stats, units: float) -> None:
    rows = stats.stats.items()  # type: ignore[attr-defined] # it has it
    spent = sorted(rows, key=lambda row: -row[1][2])
    total = sum(row[1][2] for row in spent)
    print(f"{units:.0f} messages (or connections), {total / units * 1e6:.1f} us each\n")
    print("| own us | calls | function |\n|---|---|---|")
    for (path, line, name), (_, calls, own_s, _, _) in spent[:ROWS]:
        where = f"{Path(path).name}:{line} {name}" if line else name
        print(f"| {own_s / units * 1e6:.2f} | {calls / units:.2f} | {where} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        sys.exit(serve(sys.argv[2:]))
    main(sys.argv[1:])
