"""The upper layer protocol (PS3.8) and the messages in it (PS3.7), both ways: bytes to values and back.

pdu            PDUs and their items               command_set    the elements of a message
acceptor       A-ASSOCIATE as an acceptor         requestor      A-ASSOCIATE as a requestor
dimse          C-STORE and C-ECHO, both ways      association    a requestor's association, with its socket

The acceptor's socket, deadlines and states are the listener's.
"""
