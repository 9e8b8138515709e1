import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # `small_training` is shared with a script that tests start
