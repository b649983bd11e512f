"""How every learner is trained: the engine, its checkpoints, its records."""
