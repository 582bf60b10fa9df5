"""A host's life on a server: installed, upgraded, rolled back, backed up, removed."""
