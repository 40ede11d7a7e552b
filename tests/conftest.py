"""What every test runs under."""

from __future__ import annotations

from hypothesis import settings

# The same examples on every machine and no deadlines; `--hypothesis-profile=default` explores.
settings.load_profile("ci")
