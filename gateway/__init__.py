"""The shell of filmgate: everything that touches network, disk, database and queue."""
