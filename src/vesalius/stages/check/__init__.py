"""`check`: what is here, what is wrong, who the patient is, which images are duplicates, whether it is enough."""

from vesalius.stages.check.audit import Audit, Issue, Twins
from vesalius.stages.check.page import to_html
from vesalius.stages.check.run import audit_cohort, check
from vesalius.stages.check.text import print_audit, to_text

__all__ = ["Audit", "Issue", "Twins", "audit_cohort", "check", "print_audit", "to_html", "to_text"]
