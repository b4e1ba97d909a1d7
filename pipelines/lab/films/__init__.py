"""The laboratory's films: which there are, phantoms, and what is done to them for training."""
