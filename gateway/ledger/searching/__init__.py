"""SEARCH: what people look for films by, and the pages that they look at.

tables       what the header says that people search by, a row a film; reasons, a row each
records      the frozen rows that are given
keeping      what workers write of it
catching_up  the films of an older ledger, a few at a time
wishes       which films: the conditions, and the index that leads
paging       how a sorted list goes on after one of its rows
films        pages of films, and what became of one
rooms        what is held for which reason, of whom and of which device
sheet        pages of what is held, and its groups
today        the figures of a day
"""
