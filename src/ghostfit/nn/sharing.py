"""Weight sharing without elastic layers: a store of tensors, and plain networks that run on slices of it.

Each channel of a feature map has a slot number (`ghostfit.arch.memory_slots`). The store keeps, for every weight of a
space, one tensor indexed by the slots of its output and input; a subnet's weight is the slice at its own slots, cut to
the centre of the kernel. So width, depth, kernel and Ghost ratio change without moving the meaning of a channel
(docs/design/slots.md).

>>> from ghostfit.presets import preset
>>> from ghostfit.space import Space
>>> space = Space.around(preset("mobilenetv3_small_100", num_classes=10, size_hw=(32, 32)), widths=(0.5, 1.0))
>>> supernet = Supernet(space).eval()
>>> x, arch = torch.randn(1, 3, 32, 32), space.smallest()
>>> torch.allclose(supernet(x, arch), supernet.extract(arch).eval()(x), atol=1e-5)
True
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ghostfit.arch import Arch
from ghostfit.nn.build import Network, build
from ghostfit.nn.dense_head import DetectHead
from ghostfit.nn.ghost import ConvBN, GhostModule, LinearBN
from ghostfit.space import Space

NUM_CACHED = 512  # plans and networks on the meta device kept at hand; one costs some 100 kB


class Supernet(nn.Module):
    """All networks of a space in one store of weights.

    ``supernet(x, arch)`` runs a subnet, with gradients into the store; in training mode its batch norm uses the batch's
    own statistics, in eval mode the store's. ``extract`` copies a subnet out, ``put`` copies a network's weights in.
    """

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space
        self._plans: OrderedDict[tuple[str, float, bool], tuple[Network, dict[str, Slice]]] = OrderedDict()
        shapes, sources = _store_shapes(space)
        for name, (shape, is_buffer) in shapes.items():
            tensor = torch.zeros(shape)
            if is_buffer:
                self.register_buffer(_key(name), tensor)
            else:
                self.register_parameter(_key(name), nn.Parameter(tensor))
        for arch in sources:
            self.put(build(arch))

    def forward(self, x: Tensor, arch: Arch, *, drop_path: float = 0.0) -> Tensor | tuple[Tensor, ...]:
        """Raw outputs of the subnet `arch`, as its network gives them. x: (B, in_channels, H, W), float, normalised."""
        network, parts = self._plan(arch, drop_path, self.training)
        return cast(Tensor | tuple[Tensor, ...], functional_call(network, self._slices(parts), (x,)))

    def take(self, arch: Arch) -> dict[str, Tensor]:
        """Parameters and buffers of the subnet `arch`, by name: slices of the store."""
        _, parts = self._plan(arch, 0.0, False)
        return self._slices(parts)

    @torch.no_grad()
    def extract(self, arch: Arch) -> Network:
        """A standalone copy of the subnet `arch`. Its batch norm statistics are the store's: recalibrate them."""
        network = build(arch, device=next(self.parameters()).device)
        tensors = dict(_named_tensors(network))
        for name, taken in self.take(arch).items():
            tensors[name].copy_(taken)
        return network.train(self.training)

    @torch.no_grad()
    def put(self, network: Network) -> None:
        """Copy the weights of `network`, whose arch must fit the store, to their slots; other slots keep theirs."""
        _, parts = self._plan(network.arch, 0.0, False)
        tensors = dict(_named_tensors(network))
        for name, part in parts.items():
            part.put(self._tensor(part.store), tensors[name])

    def _plan(self, arch: Arch, drop_path: float, is_training: bool) -> tuple[Network, dict[str, Slice]]:
        """The subnet on the meta device, and where its tensors lie; in training its norms keep no statistics."""
        key = (arch.id, drop_path, is_training)
        if key not in self._plans:
            network = build(arch, device="meta", drop_path=drop_path).train(is_training)
            if is_training:
                _drop_statistics(network)
            self._plans[key] = (network, plan(network))
            if len(self._plans) > NUM_CACHED:
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        return self._plans[key]

    def _slices(self, parts: Mapping[str, Slice]) -> dict[str, Tensor]:
        return {name: part.take(self._tensor(part.store)) for name, part in parts.items()}

    def _tensor(self, name: str) -> Tensor:
        return cast(Tensor, getattr(self, _key(name)))


Index = slice | Tensor


@dataclass(frozen=True)
class Slice:
    """Where one tensor of a subnet lies in the store.

    Rows, columns (None: all of them) and kernel (None: not spatial).
    """

    store: str
    rows: tuple[int, ...] | None
    columns: tuple[int, ...] | None
    kernel_hw: tuple[int, int] | None
    is_buffer: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "_row_index", _as_index(self.rows))
        object.__setattr__(self, "_column_index", _as_index(self.columns))

    def take(self, tensor: Tensor) -> Tensor:
        """The slice of a store's tensor; a view where slots are evenly spaced."""
        tensor = _select(tensor, 0, self._row_index)  # type: ignore[attr-defined]
        tensor = _select(tensor, 1, self._column_index)  # type: ignore[attr-defined]
        return self._centre(tensor)

    def put(self, tensor: Tensor, value: Tensor) -> None:
        """Write `value` into the slice of a store's tensor, in place."""
        if self.rows is None:
            tensor.copy_(value)
            return
        rows = torch.tensor(self.rows)
        target = self._centre(tensor)
        if self.columns is None:
            target[rows] = value
        else:
            target[rows[:, None], torch.tensor(self.columns)[None]] = value

    def shape(self, value: Tensor) -> tuple[int, ...]:
        """The least shape of a store's tensor that holds this slice of it."""
        dims = list(value.shape)
        if self.rows is not None:
            dims[0] = max(self.rows) + 1
        if self.columns is not None:
            dims[1] = max(self.columns) + 1
        return tuple(dims)

    def _centre(self, tensor: Tensor) -> Tensor:
        if self.kernel_hw is None or tuple(tensor.shape[2:]) == self.kernel_hw:
            return tensor
        (height, width), (k_h, k_w) = tensor.shape[2:], self.kernel_hw
        top, left = (height - k_h) // 2, (width - k_w) // 2
        return tensor[:, :, top : top + k_h, left : left + k_w]


def plan(network: Network) -> dict[str, Slice]:
    """For each parameter and buffer of `network`: its slice of the store. `network` may be on the meta device.

    Cheap operations of different Ghost ratios are kept apart: the same slot is made from another primary map there.
    """
    tags = {
        f"{name}.cheap": f"@r{module.ratio}"
        for name, module in network.named_modules()
        if isinstance(module, GhostModule) and module.cheap is not None
    }
    slices: dict[str, Slice] = {}
    for name, module in network.named_modules():
        if not isinstance(module, ConvBN | LinearBN):
            continue
        for part, tensor in _named_tensors(module):
            owner, leaf = part.rsplit(".", 1)
            is_weight = owner != "bn" and leaf == "weight"
            is_conv = is_weight and owner == "conv"
            slices[f"{name}.{part}"] = Slice(
                store=f"{name}{tags.get(name, '')}.{part}",
                rows=module.out_slots if tensor.dim() else None,
                columns=module.in_slots if is_weight else None,
                kernel_hw=(int(tensor.shape[2]), int(tensor.shape[3])) if is_conv else None,
                is_buffer=leaf in ("running_mean", "running_var", "num_batches_tracked"),
            )
    return slices


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set batch norm statistics to the mean over `batches`, (B, C, H, W) normalised as in training, in place.

    Needed before a subnet with inherited weights is judged: its channels never ran together alone (arXiv 1908.09791).
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    was_training = network.training
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
        norm.train()
    for head in (module for module in network.modules() if isinstance(module, DetectHead)):
        head.training = True  # a guide runs in training only, and has statistics too
    for x in batches:
        network(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(was_training)


def covering_archs(space: Space) -> Iterator[Arch]:
    """Networks that together use every weight of the space: the largest, changed in each choice of each gene."""
    largest = {name: choices[-1] for name, choices in space.genes}
    yield space.decode(largest)
    for name, choices in space.genes:
        for choice in choices[:-1]:
            yield space.decode({**largest, name: choice})


def _store_shapes(space: Space) -> tuple[dict[str, tuple[tuple[int, ...], bool]], list[Arch]]:
    """Shape of each tensor of the store, and networks whose fresh weights fill it, the largest last."""
    shapes: dict[str, tuple[tuple[int, ...], bool]] = {}
    sources = []
    for arch in covering_archs(space):
        network = build(arch, device="meta")
        tensors = dict(_named_tensors(network))
        has_grown = False
        for name, part in plan(network).items():
            least = part.shape(tensors[name])
            old = shapes.get(part.store, ((0,) * len(least), part.is_buffer))[0]
            new = tuple(max(a, b) for a, b in zip(old, least, strict=True))
            has_grown |= new != old or part.store not in shapes
            shapes[part.store] = (new, part.is_buffer)
        if has_grown:
            sources.append(arch)
    return shapes, sources[::-1]


def _drop_statistics(network: nn.Module) -> None:
    """Batch norm by the batch's own statistics, which nobody keeps: they belong to one subnet only."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _as_index(slots: tuple[int, ...] | None) -> Index | None:
    if slots is None:
        return None
    step = slots[1] - slots[0] if len(slots) > 1 else 1
    if step > 0 and slots == tuple(range(slots[0], slots[0] + step * len(slots), step)):
        return slice(slots[0], slots[-1] + 1, step)
    return torch.tensor(slots)


def _select(tensor: Tensor, dim: int, index: Index | None) -> Tensor:
    if index is None:
        return tensor
    if isinstance(index, slice):
        if index.start == 0 and index.step == 1 and index.stop == tensor.shape[dim]:
            return tensor
        return tensor[index] if dim == 0 else tensor[:, index]
    return tensor.index_select(dim, index.to(tensor.device))


def _key(name: str) -> str:
    """Torch forbids dots in a parameter's name."""
    return name.replace(".", "/")
