"""Labs with three hosts, bare and with Tripod on them, for all tests of this folder."""

from lab.fixtures import deployment, fit_machine, lab, pexes, progress

__all__ = ["deployment", "fit_machine", "lab", "pexes", "progress"]
