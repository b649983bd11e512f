"""Which axial slice shows which level: every slice of a study, read as one sequence."""
