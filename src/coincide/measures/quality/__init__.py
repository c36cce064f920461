"""How good an image is: beside a reference, by itself, and as people rate it."""
