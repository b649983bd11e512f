"""What a job needs around its work: files, logs, seeds, progress, fingerprints, devices."""
