"""Films, Why, and what a person asks to see of a patient.

asked      the filter row: a query string -> Wanted
columns    what can be shown of a film, in one table
films      the page, its list as JSON and as CSV, and what is revealed
becoming   what became of a film, in words
why        one box that says so
"""
