"""What every host needs and no host owns."""
