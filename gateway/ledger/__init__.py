"""The queue of record: what was received, decided, held and owed."""
