// Node's own HTTP server as an upstream: prints its port, then answers.
//   /bytes?n=N     N bytes, with a length; chunked when &chunked=1
//   anything else  JSON: method, url, the request's fields, length and SHA-256 of its body
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';

function bytes(url, response) {
  const count = Number(url.searchParams.get('n'));
  const body = Buffer.alloc(count, 'ringway.');
  if (url.searchParams.get('chunked') === '1') {
    response.writeHead(200, { 'content-type': 'application/octet-stream' });
    for (let at = 0; at < count; at += 10007) response.write(body.subarray(at, at + 10007));
    response.end();
  } else {
    response.writeHead(200, { 'content-length': count });
    response.end(body);
  }
}

function echo(request, response) {
  const hash = createHash('sha256');
  let length = 0;
  request.on('data', (piece) => {
    hash.update(piece);
    length += piece.length;
  });
  request.on('end', () => {
    const { method, url, headers } = request;
    const body = JSON.stringify({ method, url, headers, length, sha256: hash.digest('hex') });
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(body);
  });
}

const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://upstream');
  if (url.pathname === '/bytes') bytes(url, response);
  else echo(request, response);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
