"""Is this machine fit, is what the gateway keeps whole, and where is a second copy of it?"""
