"""Walks each link of a host step by step, and says what mends the first step that fails."""
