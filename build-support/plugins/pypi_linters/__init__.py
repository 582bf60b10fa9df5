"""The linters that Pants does not download from PyPI by itself."""
