"""A lab of three hosts, for all tests of this folder."""

from lab.fixtures import fit_machine, lab

__all__ = ["fit_machine", "lab"]
