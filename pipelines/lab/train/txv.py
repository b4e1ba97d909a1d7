"""TorchXRayVision's DenseNet-121 releases: labels, operating points and range, as published.

Source of all numbers: `torchxrayvision/models.py` of github.com/mlmed/torchxrayvision (Apache-2.0), table
`model_urls`; Cohen et al. 2022, "TorchXRayVision: A library of chest X-ray datasets and models" (MIDL). An
output without a label was never trained. The publisher names no digests of the files, so none are kept here:
pin one with `--sha256`.
"""

from __future__ import annotations

from dataclasses import dataclass

LABELS = (
    "Atelectasis",
    "Consolidation",
    "Infiltration",
    "Pneumothorax",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Effusion",
    "Pneumonia",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Nodule",
    "Mass",
    "Hernia",
    "Lung Lesion",
    "Fracture",
    "Lung Opacity",
    "Enlarged Cardiomediastinum",
)
PX = 224
LOW, HIGH = -1024.0, 1024.0
ASPECT = "centre"  # their films are cut to a square round the centre, then made small


@dataclass(frozen=True, slots=True)
class Release:
    """One release: the operating point of each output, None where it was never trained."""

    operating: tuple[float | None, ...]
    films: str  # what it was trained on

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each output; "" where it was never trained."""
        return tuple(
            name if point is not None else "" for name, point in zip(LABELS, self.operating, strict=True)
        )


# fmt: off
RELEASES: dict[str, Release] = {
    "densenet121-res224-all": Release((
        0.07422872, 0.038290843, 0.09814756, 0.0098118475, 0.023601074, 0.0022490358,
        0.010060724, 0.103246614, 0.056810737, 0.026791653, 0.050318155, 0.023985857,
        0.01939503, 0.042889766, 0.053369623, 0.035975814, 0.20204692, 0.05015312,
    ), "ChestX-ray14, PadChest, CheXpert, MIMIC-CXR, Google's labels, OpenI, RSNA"),
    "densenet121-res224-nih": Release((
        0.039117552, 0.0034529066, 0.11396341, 0.0057298196, 0.00045666535, 0.0018880932,
        0.012037827, 0.038744126, 0.0037213727, 0.014730946, 0.016149804, 0.054241467,
        0.037198864, 0.0004403434, None, None, None, None,
    ), "ChestX-ray14"),
    "densenet121-res224-pc": Release((
        0.031012505, 0.013347598, 0.081435576, 0.001262615, 0.002587246, 0.0035944257,
        0.0023071, 0.055412333, 0.044385884, 0.042766232, 0.043258056, 0.037629247,
        0.005658899, 0.0091741895, None, 0.026507627, None, None,
    ), "PadChest"),
    "densenet121-res224-chex": Release((
        0.1988969, 0.05710573, None, 0.0531293, 0.1435217, None,
        None, 0.27212676, 0.07749717, None, 0.19712369, None,
        None, None, 0.09932402, 0.09273402, 0.3270967, 0.10888247,
    ), "CheXpert"),
    "densenet121-res224-mimic_nb": Release((
        0.08558747, 0.011884617, None, 0.0040595434, 0.010733786, None,
        None, 0.118761964, 0.022924708, None, 0.06358637, None,
        None, None, 0.022143636, 0.017476924, 0.1258702, 0.014020768,
    ), "MIMIC-CXR, labels by NegBio"),
    "densenet121-res224-mimic_ch": Release((
        0.09121389, 0.010573786, None, 0.005023008, 0.003698257, None,
        None, 0.08001232, 0.037242252, None, 0.05006329, None,
        None, None, 0.019866971, 0.03823637, 0.11303808, 0.0069147074,
    ), "MIMIC-CXR, labels by CheXpert's labeller"),
    "densenet121-res224-rsna": Release((
        None, None, None, None, None, None,
        None, None, 0.13486601, None, None, None,
        None, None, None, None, 0.13511065, None,
    ), "RSNA Pneumonia Challenge"),
}
# fmt: on
