"""What a structure is, in codes (DICOM PS3.16 CID 7150, 7151; SNOMED CT as pydicom carries it), from its name."""

from __future__ import annotations

import re

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

ANATOMY = {
    "liver": "Liver", "kidney": "Kidney", "spleen": "Spleen", "pancreas": "Pancreas", "heart": "Heart", "lung": "Lung", "brain": "Brain",
    "hippocampus": "Hippocampus", "stomach": "Stomach", "esophagus": "Esophagus", "oesophagus": "Esophagus", "aorta": "Aorta", "prostate": "Prostate",
    "gallbladder": "Gallbladder", "bone": "Bone", "skin": "Skin", "trachea": "Trachea", "colon": "Colon", "duodenum": "Duodenum", "adrenal": "AdrenalGland",
    "thyroid": "Thyroid", "breast": "Breast", "uterus": "Uterus", "eye": "Eye", "retina": "Retina", "vessel": "BloodVessel", "vessels": "BloodVessel",
    "femur": "Femur", "rib": "Rib", "sternum": "Sternum", "vertebra": "Vertebra", "vertebrae": "Vertebra", "mandible": "Mandible", "brainstem": "BrainStem",
    "cerebellum": "Cerebellum", "spinal cord": "SpinalCord", "optic nerve": "OpticNerve", "portal vein": "PortalVein", "small intestine": "SmallIntestine",
    "inferior vena cava": "InferiorVenaCava", "parotid": "ParotidGland", "left ventricle": "LeftVentricle", "cell": "Cell", "nucleus": "Nucleus",
}
"""Words of a name to the keyword of an anatomical concept; longer ones are looked for first."""
ABNORMAL = {"tumor": "Neoplasm", "tumour": "Neoplasm", "neoplasm": "Neoplasm", "cancer": "Neoplasm", "lesion": "Lesion", "lesions": "Lesion",
            "nodule": "Nodule", "mass": "Mass", "cyst": "Cyst", "edema": "Edema", "oedema": "Edema", "necrosis": "Necrosis", "hemorrhage": "Hemorrhage",
            "haemorrhage": "Hemorrhage", "embolus": "Embolus"}


def codes_of(name: str) -> tuple[Code, Code]:
    """Category and type of a segment. What is abnormal wins over where it lies; a name that says neither is a tissue.

    >>> [code.meaning for code in codes_of("kidney_left")], codes_of("Liver tumour")[1].meaning
    (['Anatomical Structure', 'Kidney'], 'Neoplasm')
    """
    words = f" {' '.join(re.split(r'[^a-z]+', name.lower()))} "
    for table, category in ((ABNORMAL, codes.SCT.MorphologicallyAbnormalStructure), (ANATOMY, codes.SCT.AnatomicalStructure)):
        found = next((keyword for word, keyword in sorted(table.items(), key=lambda each: -len(each[0])) if f" {word} " in words), None)
        if found:
            return category, getattr(codes.SCT, found)
    return codes.SCT.Tissue, codes.SCT.Tissue
