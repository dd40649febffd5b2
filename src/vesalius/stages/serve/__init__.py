"""The clinic: a DICOM node, DICOMweb, REST and a reading page around models; the doctor decides."""
