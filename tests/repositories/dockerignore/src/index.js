const fs = require("node:fs");
const http = require("node:http");

http
  .createServer((request, response) => response.end(fs.readdirSync("/app").sort().join(" ")))
  .listen(process.env.PORT, "0.0.0.0");
