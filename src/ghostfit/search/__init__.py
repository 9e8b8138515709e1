"""Architecture search: a space that shrinks while its supernet trains, and a study under hard limits."""

from ghostfit.rooms import make_callable

make_callable(__name__)
