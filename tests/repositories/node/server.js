const http = require("node:http");

const port = process.env.PORT || 3000;
const host = "0.0.0.0";

const server = http.createServer((request, response) => {
  response.end("hello from Node.js\n");
});

server.listen(port, host, () => console.log(`Server ready on http://${host}:${port}`));
process.on("SIGTERM", () => server.close());
