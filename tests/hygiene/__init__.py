"""Nothing private is written anywhere, and nothing is left behind."""
