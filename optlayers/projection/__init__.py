"""From blocks to a projection: closed forms where recognised, a general method elsewhere."""
