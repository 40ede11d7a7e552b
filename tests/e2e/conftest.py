"""The house in which each end-to-end test lives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Yield a house, and end all that was started in it."""
    house = House(tmp_path)
    try:
        yield house
    finally:
        house.close()
