"""What classifiers are asked: the fourteen conditions of ChestX-ray14, and three kinds of child's lung."""

from __future__ import annotations

from dataclasses import dataclass, replace

# In NIH's own spelling and order (Wang et al. 2017, Data_Entry_2017.csv).
CHEST14 = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
NO_FINDING = "No Finding"
PNEUMONIA3 = ("Normal", "Bacterial", "Viral")  # Kermany et al. 2018


@dataclass(frozen=True, slots=True)
class Task:
    """A question to a classifier: its labels, and whether a film has exactly one of them."""

    name: str
    labels: tuple[str, ...]
    exclusive: bool = False

    def only(self, labels: tuple[str, ...]) -> Task:
        """The same question about fewer labels."""
        return replace(self, labels=labels)


TASKS: dict[str, Task] = {
    "chest14": Task("chest14", (*CHEST14, NO_FINDING)),
    "pneumonia3": Task("pneumonia3", PNEUMONIA3, exclusive=True),
}
