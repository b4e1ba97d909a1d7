"""The model card for people, `docs/README.md`: parts between two marks are written by the program.

What stands outside of the marks (intended use, known failures) is written by hand and kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from models import bundle
from models.data import Row

TERMS = {"open": "open", "nc": "non-commercial or research only", "unclear": "unclear"}


def write_part(folder: Path, part: str, text: str) -> None:
    """Replaces what stands between the marks of `part`, or adds it at the end of the card."""
    path = folder / bundle.README
    start, end = f"<!-- {part} -->", f"<!-- end of {part} -->"
    whole = path.read_text() if path.exists() else f"# {folder.name}\n"
    before, _, rest = whole.partition(start)
    _, _, after = rest.partition(end)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{before.rstrip()}\n\n{start}\n{text}{end}{after}" + ("" if after else "\n"))


def data_table(rows: Iterable[Row]) -> str:
    """What a gate was trained on: films and patients by source, view and terms."""
    films: Counter[tuple[str, str, str]] = Counter()
    patients: dict[tuple[str, str, str], set[str]] = {}
    for row in rows:
        key = (row.source, row.view, row.terms)
        films[key] += 1
        patients.setdefault(key, set()).add(row.group)
    lines = "".join(
        f"| {source} | {view} | {TERMS[terms]} | {count} | {len(patients[source, view, terms])} |\n"
        for (source, view, terms), count in sorted(films.items())
    )
    return (
        "## Data\n\nTrained on these films; the source `phantom` is our own synthetic films.\n\n"
        f"| source | view | terms | films | patients |\n|---|---|---|---|---|\n{lines}"
    )
