"""ACT: what people do with films. Each act is one row, one event, and can mostly be undone.

table      state × act: the one table of what can be done with a film
standing   films as people see them: their state, the hold and decision that stand
deciding   release, accept, correct, reject: many films in few transactions
leaving    what a person let go waits a few seconds in the ledger before anybody may take it
undoing    what was before, put back; nothing that left is called back
auditing   who did what when to which film
tables     the rows of acts     records   the values that go in and come out
"""
