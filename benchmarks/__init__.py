"""Ours against theirs: every tool from file to saved transform, scored by one evaluator."""
