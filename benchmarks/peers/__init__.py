"""Other people's tools, one file each."""
