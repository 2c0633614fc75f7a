"""Convert, check."""

from hwnas.export.export import Exported, VerificationError, export, export_int8, preprocessing, write_beside

__all__ = ["Exported", "VerificationError", "export", "export_int8", "preprocessing", "write_beside"]
