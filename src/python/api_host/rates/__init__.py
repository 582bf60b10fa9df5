"""How much one caller may ask, whatever the number of workers."""
