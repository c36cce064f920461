"""Medical image registration: fast on a CPU, accurate, and honest about failure."""

__version__ = "0.1.0"
