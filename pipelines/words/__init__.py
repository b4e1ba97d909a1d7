"""Words: what those of a header mean (parts, views, special pictures, kinds of objects), and measured values
in plain ones.
"""
