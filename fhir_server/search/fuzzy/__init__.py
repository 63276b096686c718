"""A search as people type: https://hl7.org/fhir/R4/search.html#query, docs/search/fuzzy.md."""
