"""How this suite runs: hypothesis draws the same examples in every run, on however slow a machine.

To look for new examples: `pytest --hypothesis-profile=explore`.
"""

from collections.abc import Callable

import uvloop
from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", max_examples=2000, deadline=None, database=None, print_blob=True)
settings.load_profile("fixed")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], uvloop.Loop]]:
    """Run the tests on the event loop that the server runs on."""
    return {"uvloop": uvloop.new_event_loop}
