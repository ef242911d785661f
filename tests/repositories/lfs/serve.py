"""Predicts with a trained model, which is loaded when the server starts."""

import pickle
from pathlib import Path

MODEL = pickle.loads(Path("model.pickle").read_bytes())


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"the answer is {MODEL['answer']}\n".encode()]
