"""Streams of Arrow IPC, read and written without pyarrow."""
