"""The one-stage system: points and grades of a whole volume from one network."""
