"""The programs that measure and tune."""
