"""CryoPPP Annotator: label protein particles in cryo-EM micrographs."""

__version__ = "0.1.0"
