"""Loads one classifier, says whether that can be done, and ends.

It loads torch, which the process that asks does not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from models.bundle import BundleError
from models.classifiers import bundle


def main() -> None:
    """Answer {"problem": "..."} on standard output, empty when it can be used."""
    try:
        bundle.load(Path(sys.argv[1]))
    except BundleError as error:
        sys.stdout.write(json.dumps({"problem": str(error)}))
    else:
        sys.stdout.write(json.dumps({"problem": ""}))


if __name__ == "__main__":
    main()
