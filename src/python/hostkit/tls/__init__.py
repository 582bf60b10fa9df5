"""TLS between hosts: a private CA, the certificates that hosts show each other, and their end."""
