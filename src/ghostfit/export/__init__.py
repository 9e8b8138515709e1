"""From torch networks to files that a runtime loads: ONNX, lowering, parity, bundles."""

from ghostfit.rooms import make_callable

make_callable(__name__)
