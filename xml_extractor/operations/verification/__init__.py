"""Proves a load: source, ledger and target are read and held against each other; nothing is written.

The plain part takes one pass over each table, by sums that do not depend on the order of rows
(:mod:`xml_extractor.target.content_digest`), and a second one only where sums differ.  The deep part maps
each document again.
"""

from xml_extractor.operations.verification.differences import MEANING, NOTES, Difference, Kind
from xml_extractor.operations.verification.report import TableReport, VerifyReport
from xml_extractor.operations.verification.run import RunningVerification, VerifyOptions, verify

__all__ = [
    "MEANING",
    "NOTES",
    "Difference",
    "Kind",
    "RunningVerification",
    "TableReport",
    "VerifyOptions",
    "VerifyReport",
    "verify",
]
