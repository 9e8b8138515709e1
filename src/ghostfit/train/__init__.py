"""Training as a generator of records: the pure loop, its schedules, its tasks and everything a resumed run needs.

`ghostfit.train.config` imports no torch, so that command lines are built without it; the other modules do.
"""

from ghostfit.rooms import make_callable

make_callable(__name__)
