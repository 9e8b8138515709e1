"""A network of the Ultralytics package, trained from scratch on images in YOLO's layout, exported, and what it finds.

A program of its own, for the Python of an environment that holds ultralytics (AGPL-3.0); it imports nothing of
ghostfit, and ghostfit nothing of it. It writes to OUT

- ``NAME.onnx``: the best weights at each size, once as exported and once with the graph simplified;
- ``NAME.json``: the objects found in the test images by that file, as COCO's results (``image_id``: the file's name;
  masks as run lengths down the columns); scores from 0.001 on, as COCO's metric wants them;
- ``peer.json``: parameters, seconds, Ultralytics' own mAP on the test images, versions. It is written last.

A training that was killed goes on from its last epoch.

    PEER_PYTHON yolo.py data.yaml --model yolo11n.yaml --size 320 --epochs 100 --export 320x320 256x320 --out FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

# Before the package is imported: install nothing, ask nobody, one thread.
os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_VERBOSE="false")

FORMS = {"plain": False, "simplified": True}  # name of the file -> whether the graph is simplified
SCORE_FLOOR, NMS_IOU, MOST = 0.001, 0.7, 300  # Ultralytics' own in validation (cfg/default.yaml)


def main() -> int:
    """Train, export, predict, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="data.yaml")
    parser.add_argument("--model", default="yolo11n.yaml", help="network without weights, a .yaml of the package")
    parser.add_argument("--size", type=int, default=320, help="pixels of the training")
    parser.add_argument("--export", nargs="+", default=["320x320"], help="sizes of the files, HEIGHTxWIDTH")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    os.environ["YOLO_CONFIG_DIR"] = str(args.out)  # settings stay in the folder of the run
    from ultralytics import settings

    settings.update({"sync": False})
    weights = train(args)
    facts = {"model": args.model, "epochs": args.epochs, "seed": args.seed, **spent(args.out), **judge(args, weights)}
    facts["files"] = [
        export(args, weights, size, form, with_results=form == "plain") for size in args.export for form in FORMS
    ]
    write(args.out / "peer.json", facts)
    return 0


def train(args: argparse.Namespace) -> Path:
    """Path of the best weights by Ultralytics' own validation."""
    from ultralytics import YOLO

    folder = args.out / "train" / "weights"
    if spent(args.out).get("is_done"):
        return folder / "best.pt"
    is_resumed = (folder / "last.pt").exists()
    network = YOLO(folder / "last.pt" if is_resumed else args.model)
    keep_time(network, args)
    if is_resumed:
        network.train(resume=True, workers=0)
    else:
        network.train(
            data=str(args.data),
            epochs=args.epochs,
            imgsz=args.size,
            batch=args.batch,
            seed=args.seed,
            pretrained=False,
            patience=args.epochs,  # as many epochs as the others
            device="cpu",
            workers=0,
            cache="ram",
            plots=False,
            project=str(args.out),
            name="train",
            exist_ok=True,
        )
    write(args.out / "spent.json", {**spent(args.out), "is_done": True})
    return folder / "best.pt"


def keep_time(network: object, args: argparse.Namespace) -> None:
    """After each epoch the seconds so far are written, in all processes that had a part in the training."""
    import torch

    before, began, cpu = spent(args.out), time.perf_counter(), time.process_time()

    def note(trainer: object) -> None:
        now = {"train_s": time.perf_counter() - began, "train_cpu_s": time.process_time() - cpu}
        write(args.out / "spent.json", {name: round(before.get(name, 0) + seconds, 1) for name, seconds in now.items()})

    def set_threads(trainer: object) -> None:
        torch.set_num_threads(args.threads)

    network.add_callback("on_train_start", set_threads)  # type: ignore[attr-defined]
    network.add_callback("on_model_save", note)  # type: ignore[attr-defined]


def spent(out: Path) -> dict[str, float]:
    """Seconds of the training so far."""
    path = out / "spent.json"
    return json.loads(path.read_text()) if path.exists() else {}


def judge(args: argparse.Namespace, weights: Path) -> dict[str, object]:
    """Ultralytics' own figures on the test images, and the size of the network."""
    import torch
    import ultralytics
    from ultralytics import YOLO

    network = YOLO(weights)
    result = network.val(
        data=str(args.data),
        split="test",
        imgsz=args.size,
        batch=1,
        device="cpu",
        workers=0,
        plots=False,
        project=str(args.out),
        name="val",
        exist_ok=True,
    )
    kind = result.seg if "seg" in args.model else result.box
    return {
        "own_map": float(kind.map),
        "own_map50": float(kind.map50),
        "params": sum(parameter.numel() for parameter in network.model.parameters()),
        "class_names": [network.names[number] for number in sorted(network.names)],
        "versions": {"ultralytics": ultralytics.__version__, "torch": str(torch.__version__)},
    }


def export(args: argparse.Namespace, weights: Path, size: str, form: str, *, with_results: bool) -> dict[str, object]:
    """One ONNX file and what it finds in the test images; says where both are."""
    from ultralytics import YOLO

    size_hw = [int(side) for side in size.split("x")]
    target = args.out / f"{size}-{form}.onnx"
    written = YOLO(weights).export(format="onnx", imgsz=size_hw, simplify=FORMS[form], device="cpu")
    Path(written).replace(target)
    row = {"size_hw": size_hw, "form": form, "onnx": target.name}
    if with_results:
        images = sorted((args.data.parent / "images" / "test").iterdir())
        network = YOLO(target, task="segment" if "seg" in args.model else "detect")
        found = [entry for image in images for entry in results_of(network, image, size_hw)]
        row |= {"results": f"{size}.json", "num_images": len(images)}
        write(args.out / f"{size}.json", found)
    return row


def results_of(network: object, image: Path, size_hw: list[int]) -> list[dict[str, object]]:
    """The objects of one image, masks at the image's own size."""
    (result,) = network.predict(  # type: ignore[attr-defined]
        str(image),
        imgsz=size_hw,
        conf=SCORE_FLOOR,
        iou=NMS_IOU,
        max_det=MOST,
        device="cpu",
        retina_masks=True,
        verbose=False,
    )
    boxes, entries = result.boxes.cpu().numpy(), []
    masks = None if result.masks is None else result.masks.data.cpu().numpy() > 0.5
    for number in range(len(boxes)):
        left, top, right, bottom = (float(edge) for edge in boxes.xyxy[number])
        entry = {
            "image_id": image.name,
            "category_id": int(boxes.cls[number]),
            "bbox": [left, top, right - left, bottom - top],
            "score": float(boxes.conf[number]),
        }
        if masks is not None:
            entry["segmentation"] = {"size": list(masks.shape[1:]), "counts": run_lengths(masks[number])}
        entries.append(entry)
    return entries


def run_lengths(mask: object) -> list[int]:
    """COCO's uncompressed run lengths of a mask (H, W): down the columns, the first run of zeros."""
    import numpy as np

    flat = np.concatenate([[False], np.asarray(mask, bool).ravel(order="F")])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff([0, *edges.tolist(), len(flat) - 1]).tolist()


def write(path: Path, content: object) -> None:
    """A JSON file, whole or not at all."""
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(content))
    beside.replace(path)


if __name__ == "__main__":
    raise SystemExit(main())
