"""Connections and what is spoken on them: HTTP/1.1 and HTTP/2, within limits."""
