"""DICOMweb (PS3.18): STOW-RS, QIDO-RS and WADO-RS under ``/dicom-web``."""

from vesalius.stages.serve.http.dicomweb.routes import router

__all__ = ["router"]
