"""What monitoring asks: alive, ready, and the figures. Open without signing in, and no identifier is in any.

ready      whether films are received, gated and sent, and if not, what is in the way
figures    the Prometheus figures, each documented in docs/monitoring.md
routes     /livez, /readyz, /metrics
"""
