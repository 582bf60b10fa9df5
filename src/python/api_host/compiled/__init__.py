"""Faster equivalents of models, and the proof that they are equal."""
