"""Limited, killable children: decoder and maker of reports, and this side of them.

On the pipes: a request is `>I` length and JSON; an answer is `>IQ` lengths, JSON and raw bytes.
"""

import struct

REQUEST = struct.Struct(">I")
ANSWER = struct.Struct(">IQ")
