"""DOORS: the people who may sign in to the console."""
