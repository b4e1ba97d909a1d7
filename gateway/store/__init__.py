"""KEEP: DICOM objects as Part 10 files named by their content.

    <root>/incoming/<pid>-<n>-<random>.part   being received; its writer holds a lock (flock) on it while it
                                              lives
    <root>/store/ab/abcd...ef.dcm             kept: preamble and group 2 written anew by us, dataset as
                                              received

The digest is sha256 over transfer syntax UID, a NUL, and the dataset's bytes; group 2 is not part of it, so
the same object from another sender is the same file. No path is made from anything that came over the
network.

incoming    one object while it arrives        store     keeping, finding, checking; room on the disk
outgoing    one object on its way out          part10    preamble, group 2 and digest of a file
disk        what the operating system says of files and folders
"""

from gateway.store.incoming import Incoming as Incoming
from gateway.store.incoming import Kept as Kept
from gateway.store.outgoing import Outgoing as Outgoing
from gateway.store.outgoing import ReadFailed as ReadFailed
from gateway.store.part10 import IMPLEMENTATION_CLASS_UID as IMPLEMENTATION_CLASS_UID
from gateway.store.part10 import IMPLEMENTATION_VERSION_NAME as IMPLEMENTATION_VERSION_NAME
from gateway.store.part10 import Meta as Meta
from gateway.store.part10 import file_meta as file_meta
from gateway.store.part10 import read_meta as read_meta
from gateway.store.store import Store as Store
