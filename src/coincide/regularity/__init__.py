"""How implausible a deformation is, and how it is mended; nothing here knows of images."""
