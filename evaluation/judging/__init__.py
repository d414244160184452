"""EMER: how well a free text fits the reference, by overlap of words or by a judge."""
