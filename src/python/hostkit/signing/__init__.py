"""Signatures of models: made where they are trained, checked before they are opened."""
