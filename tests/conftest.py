"""How hypothesis works in this suite: the same examples in every run, on however slow a machine.

To look for new examples: `pytest --hypothesis-profile=explore`.
"""

from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", max_examples=2000, deadline=None, database=None, print_blob=True)
settings.load_profile("fixed")
