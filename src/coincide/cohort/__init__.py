"""Many images at once: labels from several atlases."""
