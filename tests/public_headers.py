"""What the rules do with every header of two public sets of chest films; the table of docs/policy.md.

    python tests/public_headers.py      writes the table into docs/policy.md

The headers, not the films, lie as tables in the wheel of torchxrayvision 1.5.7, which filmgate does not need:

    pip install --no-deps --target DIR torchxrayvision==1.5.7

It is found in $FILMGATE_TXRV (DIR), or where Python finds packages. Nothing of it is copied; what is kept are
counts. The pixels are not there: each header is judged twice, as if the gates were sure of a clean frontal
chest, and of a lateral one, and as if nobody had ruled on a word.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
from ast import literal_eval
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date
from importlib.util import find_spec
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, SecondaryCaptureImageStorage

from pipelines.film import Act, Decision, Finding, Header, Reason, Verdict
from pipelines.header import read_header
from pipelines.policy import Policy, decide
from pipelines.words.kinds import header_findings

PAGE = Path(__file__).parents[1] / "docs" / "policy.md"
BEGIN, END = "<!-- public headers -->", "<!-- end of public headers -->"
OPENI, RSNA = "nlmcxr_dicom_metadata.csv.gz", "kaggle_stage_2_train_images_dicom_headers.csv.gz"
CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.7": "SC",
}
TEXTS = (
    *("SOP Class UID", "Modality", "Body Part Examined", "View Position", "Presentation Intent Type"),
    *("Image Type", "Patient Orientation", "Number of Frames", "Quality Control Image"),
)
RSNA_TEXTS = ("Modality", "BodyPartExamined", "ViewPosition")
SEQUENCES = ("Anatomic Region Sequence", "View Code Sequence")
PIXELS = ("exposure", "anatomy", "inversion", "rotation", "mirror", "lungs")
COLUMNS = ("headers", "class", "Image Type", "part, view", "a clean frontal chest", "a lateral chest")


def folder() -> Path | None:
    """Where the tables lie; None where the wheel is not installed."""
    if told := os.environ.get("FILMGATE_TXRV"):
        found = [path for path in Path(told).glob("**/data") if (path / OPENI).is_file()]
        return found[0] if found else None
    spec = find_spec("torchxrayvision")
    places = (spec and spec.submodule_search_locations) or ()
    return next((Path(place) / "data" for place in places if (Path(place) / "data" / OPENI).is_file()), None)


def openi(data: Path) -> Counter[Header]:
    """OpenI (Indiana University): 7,469 headers of chest films, each distinct one with its number."""
    return _counted(data / OPENI, (*TEXTS, *SEQUENCES), _openi_header)


def _openi_header(row: Mapping[str, str]) -> Header:
    ds = Dataset()
    for name in filter(row.get, TEXTS):
        several = row[name].startswith("[")
        setattr(ds, _keyword(name), literal_eval(row[name]) if several else row[name])
    for name in SEQUENCES:
        if code := re.search(r"Code Value +SH: '([^']*)'", row[name]):
            item = Dataset()
            item.CodeValue = code[1]
            meaning = re.search(r"Code Meaning +LO: '([^']*)'", row[name])
            item.CodeMeaning = meaning[1] if meaning else ""
            setattr(ds, _keyword(name), [item])
    return read_header(ds)


def rsna(data: Path, sop_class: str) -> Counter[Header]:
    """RSNA Pneumonia Challenge: 26,684 headers. The table has neither SOP class nor Image Type."""

    def header(row: Mapping[str, str]) -> Header:
        ds = Dataset()
        ds.SOPClassUID = sop_class
        for name in RSNA_TEXTS:
            setattr(ds, name, row[name])
        return read_header(ds)

    return _counted(data / RSNA, RSNA_TEXTS, header)


def _counted(
    path: Path, columns: tuple[str, ...], header: Callable[[Mapping[str, str]], Header]
) -> Counter[Header]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = Counter(tuple(row[name] for name in columns) for row in csv.DictReader(file))
    headers = Counter[Header]()
    for cells, count in rows.items():
        headers[header(dict(zip(columns, cells, strict=True)))] += count
    return headers


def _keyword(name: str) -> str:
    return name.replace(" of ", " Of ").replace(" ", "")


def table(data: Path) -> str:
    """Both sets in Markdown."""
    parts = [_table("OpenI", openi(data))]
    for sop_class in (ComputedRadiographyImageStorage, SecondaryCaptureImageStorage):
        parts.append(_table(f"RSNA, if its films are {CLASSES[sop_class]} objects", rsna(data, sop_class)))
    return "\n\n".join(parts)


def _table(title: str, headers: Counter[Header]) -> str:
    rows = Counter[tuple[str, ...]]()
    for header, count in headers.items():
        rows[_row(header)] += count
    lines = [f"| {' | '.join(cells)} |" for cells in (COLUMNS, ["---"] * len(COLUMNS))]
    lines += [
        f"| {count:,} | {' | '.join(cells)} |" for cells, count in sorted(rows.items(), key=_most_first)
    ]
    return f"**{title}**: {rows.total():,} headers\n\n" + "\n".join(lines)


def _most_first(item: tuple[tuple[str, ...], int]) -> tuple[int, tuple[str, ...]]:
    cells, count = item
    return -count, cells


def _row(header: Header) -> tuple[str, ...]:
    image_type = "\\".join(header.image_type)
    claims = ", ".join((header.part or "silent", header.view or "silent"))
    outcomes = (outcome(header, None), outcome(header, Reason.LATERAL))
    return (
        CLASSES[header.sop_class_uid],
        f"`{image_type}`" if image_type else "",
        claims,
        *map(_said, outcomes),
    )


def outcome(header: Header, fault: Reason | None) -> Decision:
    """What the default rules say of it, of pixels without a fault but what the anatomy gate surely finds."""
    anatomy = Verdict.BAD if fault else Verdict.GOOD
    pixels = [Finding(gate, Verdict.GOOD, 0.99) for gate in PIXELS if gate != "anatomy"]
    findings = (*header_findings(header), Finding("anatomy", anatomy, 0.99, reason=fault), *pixels)
    return decide(Policy.default(), header, findings, destinations={}, today=date(2026, 11, 20))


def _said(decision: Decision) -> str:
    reasons = ", ".join(decision.reasons)
    flags = (
        f"flags {', '.join(sorted(decision.flags))}" if decision.flags and decision.act is Act.PASS else ""
    )
    return f"{decision.act}" + (f": {reasons or flags}" if reasons or flags else "")


def written(page: str, rows: str) -> str:
    """The page with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{rows}\n\n{END}{after}"


if __name__ == "__main__":
    where = folder()
    if where is None:
        raise SystemExit("the tables of torchxrayvision are not there. Nothing was written. See above how.")
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), table(where)), encoding="utf-8")
