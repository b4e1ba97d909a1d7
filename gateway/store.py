"""KEEP: Part 10 files by content. (Contract: the signatures below; body by the listener's engineer.)"""
