"""The command `export`: its options, and what it says of the variants that it wrote."""
