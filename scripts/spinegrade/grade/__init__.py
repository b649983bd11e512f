"""The grades of a study's cells: networks that tell them, by kind."""
