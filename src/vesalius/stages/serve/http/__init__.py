"""The service over HTTP: prediction, jobs, findings as FHIR, DICOMweb, health and figures; see docs/clinic/http.md."""
