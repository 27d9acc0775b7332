"""PostgreSQL: the embedded server, the schema and the store that everything durable goes through."""

from forecaster.store.database import Store
from forecaster.store.embedded import EmbeddedServer
from forecaster.store.rows import DecisionRow, ModelRow, Served, ServiceSummary

__all__ = ["DecisionRow", "EmbeddedServer", "ModelRow", "Served", "ServiceSummary", "Store"]
