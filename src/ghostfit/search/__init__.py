"""Architecture search: a space that shrinks while its supernet trains, and a study under hard limits."""
