"""Convert, check."""

from hwnas.export.export import Exported, VerificationError, export, preprocessing, write_beside

__all__ = ["Exported", "VerificationError", "export", "preprocessing", "write_beside"]
