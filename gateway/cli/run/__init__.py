"""The gateway, or one process of it, as commands."""
