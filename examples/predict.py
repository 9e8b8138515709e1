"""Predictions of a bundle, on a device without torch: pip install ghostfit.

python examples/predict.py model.ghost photo.jpg ...
"""

import sys

import ghostfit as gf

model = gf.load(sys.argv[1])
for path in sys.argv[2:]:
    try:
        result = model(path)
    except ValueError as error:  # an image that can't be read
        print(f"{path}: {error}")
        continue
    answer = "unsure, perhaps " + result.label if result.is_unsure else result.label
    print(f"{path}: {answer} ({result.confidence:.0%})")
