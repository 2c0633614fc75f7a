"""Convert, check."""

from hwnas.export.export import (
    Exported,
    VerificationError,
    export,
    export_reduced,
    model_path,
    preprocessing,
    write_beside,
)

__all__ = [
    "Exported",
    "VerificationError",
    "export",
    "export_reduced",
    "model_path",
    "preprocessing",
    "write_beside",
]
