"""The core of filmgate: pure values in, values out. Importing it loads nothing."""
