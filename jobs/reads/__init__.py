"""SELECTs, one module per noun, and the API shapes that they return."""
