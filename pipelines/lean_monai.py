"""MONAI's transforms without the packages that other parts of MONAI work with.

`import monai` loads all of MONAI, and each part of it every optional package that it finds installed: SciPy,
matplotlib, scikit-learn, ignite and theirs. The input chain of the gates uses none of them, and they cost
each worker two and a half seconds and 160 MB. MONAI works without a package that is not installed, so while
it is imported these look as if they were not. Afterwards anybody can import them; but MONAI looked for them
once, so its own parts that need one (`HausdorffDistanceMetric` needs SciPy) stay without it in this process,
unless it was imported before this module.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

NOT_NEEDED = (
    "ignite",
    "itk",
    "matplotlib",
    "mlflow",
    "nibabel",
    "onnx",
    "pandas",
    "scipy",
    "skimage",
    "sklearn",
    "tensorboard",
    "tensorboardX",
    "torchvision",
    "transformers",
)


@contextmanager
def _not_installed(names: tuple[str, ...]) -> Iterator[None]:
    """Within, importing any of these fails, unless it was imported before."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: "do not look for it"
    try:
        yield
    finally:
        for name in absent:
            if sys.modules.get(name) is None:
                sys.modules.pop(name, None)


with _not_installed(NOT_NEEDED):
    from monai.data.meta_obj import get_track_meta as get_track_meta
    from monai.data.meta_obj import set_track_meta as set_track_meta
    from monai.transforms.compose import Compose as Compose
    from monai.transforms.spatial.array import Resize as Resize
    from monai.transforms.transform import Transform as Transform
