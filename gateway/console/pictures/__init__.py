"""Pixels for the browser, made in a limited child and cached by digest."""
