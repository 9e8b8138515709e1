"""From torch networks to files that a runtime loads: ONNX, lowering, parity, bundles."""
