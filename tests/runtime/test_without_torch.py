"""The edge runtime and vision import and work where torch, and all of the training extras, are absent."""

import subprocess
import sys

BLOCKED = """
import sys
class Blocker:
    names = {"torch", "torchvision", "timm", "optuna", "onnx", "sklearn", "scipy", "safetensors", "cv2", "openvino"}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ModuleNotFoundError(f"{name} is blocked")
sys.meta_path.insert(0, Blocker())
"""

IMPORT_ALL = """
import importlib, pkgutil
for room in ("vision", "runtime"):
    package = importlib.import_module(f"ghostfit.{room}")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"ghostfit.{room}.{module.name}")
assert "onnxruntime" not in sys.modules, "importing is to be fast: the runtime loads on first use"
"""

PREDICT = """
import numpy as np
from ghostfit.runtime.bench import measure_latency
from ghostfit.runtime.bundle import open_bundle
from ghostfit.runtime.predict import load
from ghostfit.runtime.score import score_bundle
model = load(sys.argv[1])
image = np.zeros((20, 20, 3), np.uint8)
assert model(image).label == model.manifest.class_names[model(image).index]
assert score_bundle(model, [(image, 0)])["num_images"] == 1
assert measure_latency(open_bundle(sys.argv[1]).network, (1, 3, 8, 8), budget_s=0.01).num_runs
"""


def run(code: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKED + code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_everything_imports_without_torch():
    run(IMPORT_ALL)


def test_a_bundle_works_without_torch(bundle_path):
    run(PREDICT, str(bundle_path))
