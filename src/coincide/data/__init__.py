"""Data to learn from: data sets of files, augmentation, and synthesis where there are none."""
