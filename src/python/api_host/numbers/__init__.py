"""Bodies of numbers alone, read without a look of Python's at each value."""
