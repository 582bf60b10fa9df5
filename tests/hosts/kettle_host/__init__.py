"""A small host with a database: proves what all hosts have, faster than a real one."""
