"""Architectures as values: look at presets, count them, open a search space around one. Needs no torch.

python examples/architectures.py
"""

import ghostfit as gf

arch = gf.preset("ghostnet_100", num_classes=10, size_hw=(96, 96))
counts = gf.count(arch)
print(f"ghostnet_100 at 96 px: {counts.params / 1e6:.2f} M parameters, {counts.macs / 1e6:.1f} M multiply-adds")

costliest = max(counts.by_block, key=lambda block: block.macs)
print(f"costliest block: {costliest.name}, {costliest.macs / 1e6:.1f} M multiply-adds")

space = gf.Space.around(arch, widths=(0.5, 0.75, 1.0), ratios=(1, 2), se=True)
for name, point in {"smallest": space.smallest(), "largest": space.largest()}.items():
    print(f"{name} of about {space.num_points():.0e} networks: {gf.count(point).macs / 1e6:.1f} M multiply-adds")

assert gf.Arch.from_json(arch.to_json()) == arch
