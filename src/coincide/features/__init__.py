"""Keypoints, their descriptions and their matches: arrays in, arrays out, positions in voxels."""
