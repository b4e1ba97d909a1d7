"""Needs of every process: clock, guarded loops, health, standard streams, private files, its supervisor."""
