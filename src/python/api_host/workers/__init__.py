"""What the processes that predict on this host tell together."""
