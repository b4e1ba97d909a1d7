"""The model card for people, `docs/README.md`: parts between two marks are written by the program.

What stands outside of the marks (intended use, known failures) is written by hand and kept.
"""

from __future__ import annotations

from pathlib import Path

from models import bundle


def write_part(folder: Path, part: str, text: str) -> None:
    """Replaces what stands between the marks of `part`, or adds it at the end of the card."""
    path = folder / bundle.README
    start, end = f"<!-- {part} -->", f"<!-- end of {part} -->"
    whole = path.read_text() if path.exists() else f"# {folder.name}\n"
    before, _, rest = whole.partition(start)
    _, _, after = rest.partition(end)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{before.rstrip()}\n\n{start}\n{text}{end}{after}" + ("" if after else "\n"))
