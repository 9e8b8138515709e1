"""The edge runtime and vision import and work where torch, and all of the training extras, are absent."""

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


def test_everything_imports_without_torch(run_python):
    done = run_python(BLOCKED + IMPORT_ALL)
    assert done.returncode == 0, done.stderr


def test_a_bundle_works_without_torch(bundle_path, run_python):
    done = run_python(BLOCKED + PREDICT, bundle_path)
    assert done.returncode == 0, done.stderr
