"""What monitoring asks: alive, ready, and the figures."""
