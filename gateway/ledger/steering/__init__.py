"""STEER: what people change while the gateway runs, in the ledger, so that every process acts by it at once.

flow       modes of senders, the bypass, pauses, who may send: `steered` is a cheap look at all of it
policies   versions of the rules, and decisions on which others can be tried
senders    who sends, who was refused
steer      all of these, as `Ledger` inherits them
"""
