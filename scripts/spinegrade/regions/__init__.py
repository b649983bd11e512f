"""The regions of the spine that are graded, a module each, found by name.

Nothing that is general imports a region's module: it takes the ``Region``, or what it needs of it,
as an argument, and the rule adds the region's module to its code fingerprint. Only what is of one
region by nature (its readers, its published graders, its phantom) imports that region.
"""
