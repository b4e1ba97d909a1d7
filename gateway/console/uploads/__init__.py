"""Files that people drop to hear what the gates say of them: kept for a day, sent nowhere, in no ledger.

shelf     the folder: pieces of files with their offsets, limits, what came of each
examiner  the child that looks at them, one after the other; this process decodes nothing
"""
