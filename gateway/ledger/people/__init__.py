"""DOORS: who may sign in to the console, who has, and how long whoever guesses must wait.

`backoff` reckons the waiting, `passwords` hashes; the ledger keeps hashes alone. A token that a browser has
(of a session, of a device) is random, and the ledger keeps its sha256: who reads a backup cannot sign in.
"""
