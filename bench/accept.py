"""What the gates that ship make of the films set aside: a table a gate, and the chain.

    python bench/accept.py --films DIR [--out work/accept] [--gates rotation,chain]

The rows marked `accept` in the manifest trained, tuned and calibrated nothing. Each gate is asked as it
ships, thresholds as in its card. Slow: one film at a time, in every way that a gate is judged by.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from models import bundle
from pipelines import gates
from pipelines.lab.ask import chain, gate_ask
from pipelines.lab.films.data import read_rows
from pipelines.lab.measure import calibrate
from pipelines.lab.measure.budget import share_of
from pipelines.lab.report import gate_report


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--films", type=Path, required=True)
    options.add_argument("--out", type=Path, default=Path("work/accept"))
    options.add_argument("--gates", default=",".join((*chain.GATES, chain.CHAIN)))
    args = options.parse_args()
    torch.set_num_threads(1)
    rows = read_rows(args.films, "accept")
    for name in args.gates.split(","):
        out = args.out / f"{name}.csv"
        boxes = []
        if name == chain.CHAIN:
            look, thresholds, budget = chain.ask(gates.load()), (0.5, 0.5), None
            table = gate_ask.score_films(name, look, args.films, rows, cases=[chain.AS_IT_IS], out=out)
        else:
            table = gate_ask.score_films(name, gate_ask.asks(name, bundle.BUNDLES), args.films, rows, out=out)
            thresholds = calibrate.thresholds_of(bundle.read_card(bundle.BUNDLES / name)) or (0.5, 0.5)
            budget = share_of(name).loss
            if name == "lungs":
                find = gate_ask.box_finder(bundle.BUNDLES)
                boxes = gate_ask.box_scores(find, args.films, rows, out=args.out / "boxes.csv")
        print(f"\n# {name}\n\n{gate_report.summary(name, table, thresholds, rows, boxes, budget)}")


if __name__ == "__main__":
    main()
