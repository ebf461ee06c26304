"""Programs that measure and tune the loader; they run from a checkout."""
