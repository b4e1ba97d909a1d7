"""Instances as files: reading them up to their pixels, and writing them in another transfer syntax."""
