"""How property tests run: without timing, since machines are shared, and with the same examples.

The same sources must not pass today and fail tomorrow. To look for new examples, run
`./pants test tests/hostkit:: -- --hypothesis-profile=default`.
"""

from hypothesis import settings

settings.register_profile("tripod", deadline=None, derandomize=True)
settings.load_profile("tripod")
