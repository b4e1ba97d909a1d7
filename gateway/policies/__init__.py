"""The rules by which films are decided: which version is in force, and what another one would change."""
