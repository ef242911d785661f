"""SELECTs, one module a noun, and the API shapes they give."""
