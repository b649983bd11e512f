"""Network architectures, one a file, built by name through ``spinegrade.models.registry``."""
