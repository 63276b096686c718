"""Loads files of resources: NDJSON, Bundles and single resources, in JSON or XML, compressed with gzip or not."""
