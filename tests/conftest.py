"""How property tests run everywhere: without timing, since these machines are shared."""

from hypothesis import settings

settings.register_profile("tripod", deadline=None)
settings.load_profile("tripod")
