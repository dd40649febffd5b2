"""The nouns: geometry, study, finding, target, cohort, reads."""
