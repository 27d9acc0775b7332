"""Request logs in: every format becomes batches of requests, stored exactly once."""

from forecaster.ingest.loader import CutShortLogError, Progress, ingest_file
from forecaster.ingest.options import ColumnMap, IngestOptions, IngestReport, LogFormat, TimeUnit
from forecaster.ingest.sink import RequestSink

__all__ = [
    "ColumnMap",
    "CutShortLogError",
    "IngestOptions",
    "IngestReport",
    "LogFormat",
    "Progress",
    "RequestSink",
    "TimeUnit",
    "ingest_file",
]
