"""The parity certificate: proof on real images that an exported file does what the torch network does.

Compared are the prepared input, the feature map after every block, each raw output and the decoded result. Where they
differ by more than single-precision arithmetic explains, there is no certificate but a `ParityError`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from ghostfit.export.agreement import Compare
from ghostfit.export.graph import UNUSED
from ghostfit.nn.build import Network
from ghostfit.runtime.backends import open_backend
from ghostfit.vision.prepare import Prepare, prepare_batch

__all__ = ["ParityError", "certify"]

TOLERANCE = 1e-4  # of a tensor's range; ONNX Runtime and torch differ by 1e-6 to 1e-5 on the presets (tests/export)
NOISE_FACTOR = 10  # what may be lost besides, in units of what torch itself loses against double precision
INPUT_TOLERANCE = 1e-5  # of normalised values, which are about 2


class ParityError(ValueError):
    """An exported file that does not do what its network does; the text says where they part."""


def certify(
    network: Network,
    model: bytes,
    images: Sequence[np.ndarray],
    prepare: Prepare,
    *,
    compare: Compare,
    tolerance: float = TOLERANCE,
    runtime: str = "onnxruntime",
) -> dict[str, Any]:
    """The certificate that `model` (ONNX bytes) equals `network`, as a plain dict for a bundle's manifest.

    images: at least one real image (H, W, C), uint8, of any size. `compare` judges the decoded results
    (`ghostfit.export.agreement`). Differences are shares of the range of torch's values, "raw" is the worst output's.
    Raises ParityError on a mismatch, ValueError when there are no images or the file can't be run.
    """
    if not len(images):
        raise ValueError("parity needs real images, and got none; pass some of the data set's")
    batch = prepare_batch(images, Prepare.from_dict(json.loads(json.dumps(prepare.to_dict()))))
    backend = open_backend(runtime, model)
    marks = _marks(model, network)
    wanted, maps = _run_torch(network, batch, tuple(marks))
    rows = [backend.run(image[None]) for image in batch]
    got = {name: np.concatenate([row[name] for row in rows]) for name in wanted}
    gaps = {name: _gap(got[name], value) for name, value in wanted.items()}
    raw_gap, allowed = max(gaps.values()), tolerance
    if raw_gap > tolerance:  # a network may be so ill-conditioned that torch itself is no better
        allowed = max(tolerance, NOISE_FACTOR * _noise(network, batch, wanted))
    stages = [{"name": name, "max_rel": gap} for name, gap in _stage_gaps(model, batch, maps, marks).items()]
    certificate = {
        "passed": True,
        "num_images": len(images),
        "tolerance": allowed,
        "runtime": f"{backend.runtime} {backend.version}",
        "input": {"max_abs": float(np.abs(batch - _prepare_by_torch(images, prepare)).max())},
        "stages": stages,
        "raw": {
            "max_abs": max(float(np.abs(got[name] - value).max()) for name, value in wanted.items()),
            "max_rel": raw_gap,
            "outputs": gaps,
        },
        "decoded": compare(wanted, got, allowed),
    }
    _refuse_differences(certificate)
    return certificate


def _refuse_differences(certificate: Mapping[str, Any]) -> None:
    allowed, raw_gap, input_gap = (
        certificate["tolerance"],
        certificate["raw"]["max_rel"],
        certificate["input"]["max_abs"],
    )
    if not input_gap <= INPUT_TOLERANCE:
        raise ParityError(f"the prepared inputs differ by {input_gap:.1e}; allowed: {INPUT_TOLERANCE:.0e}")
    if not raw_gap <= allowed:
        first = next((stage["name"] for stage in certificate["stages"] if not stage["max_rel"] <= allowed), "head")
        raise ParityError(
            f"the exported file differs from the network by {raw_gap:.1e} of its outputs' range (allowed: "
            f"{allowed:.0e}), first after {first}; the file is damaged, or the export is wrong: please report it"
        )
    if different := certificate["decoded"]["num_different"]:
        raise ParityError(
            f"{different} of {certificate['num_images']} images get another result from the exported file"
        )


def _prepare_by_torch(images: Sequence[np.ndarray], prepare: Prepare) -> np.ndarray:
    """The input as torch computes it from resized images: (x / 255 - mean) / std."""
    pixels = torch.from_numpy(np.stack([prepare.resized(image) for image in images])).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (prepare.mean, prepare.std))
    return np.asarray(((pixels.float() / 255 - mean) / std).numpy())


@torch.no_grad()
def _run_torch(
    network: Network, batch: np.ndarray, names: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Outputs in evaluation, and the maps that the modules of those `names` give, each of all images."""
    maps: dict[str, np.ndarray] = {}
    hooks = [network.get_submodule(name).register_forward_hook(_keep(maps, name)) for name in names]
    try:
        outputs = _outputs(network, network, torch.from_numpy(batch).to(next(network.parameters())))
    finally:
        for hook in hooks:
            hook.remove()
    return outputs, maps


@torch.no_grad()
def _outputs(network: Network, run: Callable[[torch.Tensor], Any], x: torch.Tensor) -> dict[str, np.ndarray]:
    with _evaluating(network):
        outputs = run(x)
    tensors = outputs if isinstance(outputs, tuple) else (outputs,)
    return {name: value.cpu().numpy() for name, value in zip(network.arch.output_names, tensors, strict=True)}


@contextmanager
def _evaluating(network: Network) -> Iterator[None]:
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def _keep(outputs: dict[str, np.ndarray], name: str) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        outputs[name] = output.cpu().numpy()

    return hook


def _marks(model: bytes, network: Network) -> dict[str, Any]:
    """Where the file holds the maps of the network's modules; empty for one that this package didn't write."""
    proto = onnx.load_from_string(model)
    marks = json.loads({entry.key: entry.value for entry in proto.metadata_props}.get("maps", "{}"))
    modules = dict(network.named_modules())
    return {name: parts for name, parts in marks.items() if name in modules}


def _stage_gaps(
    model: bytes, batch: np.ndarray, wanted: Mapping[str, np.ndarray], marks: Mapping[str, Any]
) -> dict[str, float]:
    """Difference of each map that the file names."""
    proto = onnx.load_from_string(model)
    tensors = sorted({tensor for parts in marks.values() for tensor, _ in parts})
    added = [onnx.helper.make_empty_tensor_value_info(tensor) for tensor in tensors]
    for info in added:
        info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    proto.graph.output.extend(added)
    backend = open_backend("onnxruntime", proto.SerializeToString())
    rows = [backend.run(image[None]) for image in batch]
    gaps = {}
    for name, parts in marks.items():
        got = np.full_like(wanted[name], np.nan)
        for tensor, channels in parts:
            places = [place for place, channel in enumerate(channels) if channel != UNUSED]
            got[:, [channels[place] for place in places]] = np.concatenate([row[tensor] for row in rows])[:, places]
        gaps[name] = _gap(got, wanted[name])
    return gaps


def _gap(got: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference as a share of the range of `wanted`; infinite when a value isn't finite."""
    if not (np.isfinite(got).all() and np.isfinite(wanted).all()):
        return float("inf")
    return float(np.abs(got - wanted).max() / max(float(np.ptp(wanted)), 1e-12))


def _noise(network: Network, batch: np.ndarray, outputs: Mapping[str, np.ndarray]) -> float:
    """What torch's own single precision loses against double, as a share of the range: the worst output's."""
    state = {
        name: value.double() if value.is_floating_point() else value for name, value in network.state_dict().items()
    }
    x = torch.from_numpy(batch.astype(np.float64)).to(next(network.parameters()).device)
    exact = _outputs(network, lambda x: torch.func.functional_call(network, state, x), x)
    return max(_gap(value, exact[name]) for name, value in outputs.items())
