"""PICTURE: what the console may show, and which held films look alike."""

from gateway.ledger.picturing.picturing import Picturing

__all__ = ["Picturing"]
