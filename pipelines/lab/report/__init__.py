"""REPORT: the pages, cards and plots that people read, made from tables of scores."""
