"""How good methods are, measured."""
