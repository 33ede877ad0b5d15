"""The fault drivers at full length: ``scripts/soak``."""
