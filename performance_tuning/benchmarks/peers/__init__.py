"""Other programs that the product is held against: found in a Python of their own, never imported by it."""
