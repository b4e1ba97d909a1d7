"""RECEIVE: the Storage and Verification SCP.

guard      sockets: caps, deadlines, fairness          pdu        PDUs of association control
receive    one association, socket to part file        negotiate  contexts and transfer syntaxes
recorder   group commit: store, ledger, then 0x0000    dimse      command sets
scp        the listener itself                         glance     UIDs at the start of a dataset
"""

from gateway.listener.scp import Listener as Listener
from gateway.listener.scp import serve as serve
