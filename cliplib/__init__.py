"""cliplib: the small library behind the course on building CLIP."""

__version__ = "0.1.0"
