"""The laboratory's questions: films shown to a gate or classifier in every way that it is judged by."""
