"""RECEIVE: the Storage and Verification SCP, an acceptor of associations (PS3.8 section 9.2).

door       Sta2 and Sta13: caps, deadlines, fairness       negotiate  contexts and transfer syntaxes
receive    Sta3, Sta6 and Sta8: one association            arrival    one object, from socket to part file
wire       its socket: one buffer, with deadlines          glance     UIDs at the start of a dataset
recorder   group commit: store, ledger, then 0x0000        audit      rows of how associations ended
scp        the listener itself
"""

from gateway.listener.scp import Listener as Listener
from gateway.listener.scp import serve as serve
