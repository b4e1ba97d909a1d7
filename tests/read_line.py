"""A gateway's ledger, store and settings with a tiny classifier behind them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest
import torch
from pydicom.dataset import Dataset
from test_tasks import Says, receive

from gateway.bootstrap import Shell
from gateway.process.priority import LedgerThread
from gateway.sandbox.decoder import Decoder
from gateway.sandbox.reporter import Reporter
from gateway.settings import Settings
from gateway.worker import Worker
from models.classifiers import bundle, nets
from models.classifiers.bundle import ClassifierCard, Input
from pipelines.film import Reason
from pipelines.policy import Policy
from pipelines.reading.classifier import Classifier

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CLASSES = ("Effusion", "Mass", "No Finding")
Children = tuple[Decoder, Reporter]
TO_ARCHIVE = {"sr": ["archive"], "heatmap": ["archive"], "gsps": ["archive"], "not_analysed": ["archive"]}
HELD = ("mirror", Reason.MIRROR_SUSPECTED)


def tiny(folder: Path, **words: Any) -> Path:
    """A bundle whose network is small and whose weights are random, and always the same."""
    torch.manual_seed(0)
    thresholds = {"Effusion": 0.0, "Mass": 1.0, "No Finding": None}
    card = ClassifierCard("tiny", "small", CLASSES, input=Input(px=64), thresholds=thresholds, **words)
    bundle.save(folder, card, nets.Small(len(CLASSES)).eval())
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module")
def children() -> Iterator[tuple[Decoder, Reporter]]:
    with Decoder(timeout_s=30) as decoder, Reporter(timeout_s=60) as reporter:
        yield decoder, reporter


def open_reader(folder: Path, engines: Path) -> Classifier:
    return Classifier.open(folder, cache=engines)


class Line:
    """A gateway with one classifier, and a worker that does all there is to do."""

    def __init__(self, tmp_path: Path, where: Path, children: Children, **more: Any) -> None:
        block = {"kind": "classifier", "bundle": str(where), "results": TO_ARCHIVE} | more.pop("block", {})
        tree = {
            "state": tmp_path,
            "store": {"min_free_mb": 0},
            "destinations": {
                "archive": {"kind": "folder", "path": tmp_path / "archive"},
                "hook": {"kind": "webhook", "url": "https://his.example/in"},
                "chest": block,
            },
            "routes": {"pass": ["chest"]},
        }
        self.tmp_path, self.children = tmp_path, children
        engines = tmp_path.parent / "engines"  # the network is made ready once for all tests
        engines.mkdir(exist_ok=True)
        if not (tmp_path / "engines").exists():
            (tmp_path / "engines").symlink_to(engines)
        self.shell = Shell.open(Settings.model_validate(tree | more), migrate_first=True)
        self.ledger = self.shell.ledger

    def examiner(self, *faults: tuple[str, Reason]) -> Worker:
        decoder, reporter = self.children
        says: Any = Says(*faults)
        policy = Policy.default()
        return Worker(
            self.shell, decoder, says, policy, "w", LedgerThread(), reporter, open_reader=open_reader
        )

    def work(self, *faults: tuple[str, Reason]) -> None:
        self.examiner(*faults).work()

    def sent(self, ds: Dataset, *faults: tuple[str, Reason]) -> dict[str, Any]:
        """Receive a film and do all there is to do with it; its one result."""
        receive(self.shell, ds, self.tmp_path)
        self.work(*faults)
        (result,) = self.ledger.film(str(ds.SOPInstanceUID)).results
        return result

    def objects(self, destination: str = "archive") -> dict[str, Any]:
        """What is owed to a destination: dataset or JSON, by SOP class or media type."""
        owed = self.ledger.claim_deliveries(destination, 20, NOW)
        return {one.sop_class_uid or one.transfer_syntax_uid: self._content(one) for one in owed}

    def _content(self, delivery: Any) -> Any:
        meta, file = self.shell.store.open_dataset(delivery.digest)
        with file:
            if not meta.sop_class_uid:
                return json.loads(file.read())
        return pydicom.dcmread(self.shell.store.path(delivery.digest))

    def state(self) -> str:
        owed = self.ledger.film(1).deliveries
        return next((d["state"] for d in owed if d["destination"] == "chest"), "not owed")


@pytest.fixture
def line(tmp_path: Path, folder: Path, children: Children) -> Line:
    return Line(tmp_path, folder, children)
