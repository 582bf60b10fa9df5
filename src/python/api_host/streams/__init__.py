"""Predictions of streams of rows, of any length."""
