"""Patient space: affines, planes, projections, similarity shapes. No files, no torch."""
