"""From a conic form to blocks that share no entry, in normal form."""
