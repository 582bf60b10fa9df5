"""What stands between a host and the outside, made from its settings: proxies and firewalls."""
