"""The cohort room: delivered tables and folders to typed tables, and the folds."""
