"""What one release of the kettle does; a test replaces this file to make another release."""

SCHEMA = 1
"""The schema of the database that it needs."""

MIGRATE = "well"
""""well", "fails" before it changed anything, or "breaks": ends in the middle of the change."""

SERVE = "well"
""""well", "crashes", or "hangs": never gets ready."""
