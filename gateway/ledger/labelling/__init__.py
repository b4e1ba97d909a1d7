"""LABEL: what people said of films, with who and when, and the blind check of what slips through.

words    what can be said, and how a box is written
derived  what an act says of a film
tables   the tables of it
saying   labels written and taken back, in the transaction of an act
labels   `Labelling`: labels as pages and exports ask for them
blind    `BlindChecking`: which passed films come up, and what was said of them
slips    what slips through, with its exact interval
manifest labels as training and calibration take them
scores   `Scoring`: what the gates said of the last films
"""
