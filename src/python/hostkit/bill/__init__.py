"""The bill of materials: what a PEX file is made of."""
