"""The checks of a diagnosis, by the part of the index that they look at."""
