"""Stored values to what the gates see, and what shows in them that bytes are missing."""
