"""Fixtures that every test may use."""

import os

import pytest
from hypothesis import settings

# The same examples on every run: a red build is a change, not a throw of the dice. To look further:
#     HYPOTHESIS_PROFILE=search pytest tests/domain
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
