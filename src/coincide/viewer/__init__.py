"""What is looked at in a browser, served to this machine alone."""
