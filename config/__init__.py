"""Contracts and settings that ship with the product."""
