"""All three hosts on this machine: dev mode, and the harness that the tests use."""
