"""What every test runs under."""

from __future__ import annotations

import gc
import signal

from hypothesis import settings

# The same examples on every machine and no deadlines; `--hypothesis-profile=default` explores.
settings.register_profile("quick", settings.get_profile("ci"), max_examples=30)
settings.load_profile("quick")

# A shell without job control starts its background jobs deaf to these, and what we start would be.
for _signum in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_signum) is signal.SIG_IGN:
        signal.signal(_signum, signal.default_int_handler)

# Thousands of short tests make much, and little of it in cycles.
gc.set_threshold(100_000)
