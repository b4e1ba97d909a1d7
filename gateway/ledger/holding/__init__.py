"""HOLD: what keeps a film from AI, and takes back what AI is owed of it already.

`taking_back` stops deliveries and readings, whoever has them in hand. `rejecting` is for films that a room or
the archive rejected by a Key Object. `ruling` is what people said once for all of a word in the headers of a
sender.
"""
