"""Stands in for a Spring Boot application: its port, its properties and its health path.

Spring takes a property from a variable of the same name, dots included.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ.get("server.port", "8080"))
DATABASE = os.environ.get("spring.datasource.url")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        answers = {"/actuator/health": {"status": "UP"}, "/orders": {"database": DATABASE}}
        self.send_response(200 if self.path in answers else 404)
        self.end_headers()
        self.wfile.write(json.dumps(answers.get(self.path, {})).encode())


if not DATABASE:
    print("APPLICATION FAILED TO START\n")
    print("Description:\n")
    sys.exit("Failed to configure a DataSource: 'url' attribute is not specified")
print(f"Tomcat started on port {PORT} (http) with context path '/'")
ThreadingHTTPServer(("0.0.0.0", PORT), Handler).serve_forever()
