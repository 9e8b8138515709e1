"""Train a preset on the digits for a minute, export it, and load the file: pip install 'ghostfit[train]'.

python examples/train_digits.py [FOLDER] [SECONDS]
"""

import sys
from pathlib import Path

import ghostfit as gf

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example")
seconds = float(sys.argv[2] if len(sys.argv) > 2 else 60)

# A mirrored digit is no digit: flip=False.
print(gf.train("digits", arch="mobilenetv3_small_100", out=str(folder), time_s=seconds, flip=False).to_text())
print(gf.export(folder).to_text())

model = gf.load(folder)
dataset = gf.read_dataset("digits")
sample = dataset.samples[0]
result = model(sample.source.read())
print(
    f"{sample.id} is {dataset.class_names[sample.label]}, and the model says {result.label} ({result.confidence:.0%})"
)
