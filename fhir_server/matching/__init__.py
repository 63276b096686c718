"""Whether two Patients are one person: pure comparison, without a database.

`record_of` gives a Patient's normal form, `match_keys` what it is found by, `assess` a score with its reasons under a model.
"""

from fhir_server.matching.keys import FIELD, WEAK, entries, match_keys
from fhir_server.matching.model import Model, ModelError, default_model, model_of, models
from fhir_server.matching.record import Record, record_of
from fhir_server.matching.score import Assessment, Evidence, Grade, assess

__all__ = [
    "FIELD",
    "WEAK",
    "Assessment",
    "Evidence",
    "Grade",
    "Model",
    "ModelError",
    "Record",
    "assess",
    "default_model",
    "entries",
    "match_keys",
    "model_of",
    "models",
    "record_of",
]
