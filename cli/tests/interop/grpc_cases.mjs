// gRPC calls of every kind through the gateway, judged here; client and server are grpc-js.
//
// Usage: grpc_cases.mjs SERVER_PORT SERVER_TLS_PORT CERT KEY CA TARGET...
// A target is `h2c=HOST:PORT` or `tls=HOST:PORT`, a listener of the gateway. The script serves both
// ports, asks every case of every target, and ends with `N passed, M failed`. The library is looked
// for in the folder that RINGWAY_NODE_MODULES names, or where Node looks by itself.
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const folder = process.env.RINGWAY_NODE_MODULES;
const grpc = createRequire(folder ? pathToFileURL(`${folder}/`) : import.meta.url)('@grpc/grpc-js');

const SERVICE = 'ringway.test.Echo';
const MESSAGE_BYTES_MAX = 1 << 26;
const CASE_LIMIT_MS = 60_000;
const server_side = new EventEmitter();

const same = (bytes) => bytes;
const definition = (name, requestStream, responseStream) => ({
    path: `/${SERVICE}/${name}`, requestStream, responseStream,
    requestSerialize: same, requestDeserialize: same,
    responseSerialize: same, responseDeserialize: same,
});
const METHODS = {
    Unary: definition('Unary', false, false),
    ServerStream: definition('ServerStream', false, true),
    ClientStream: definition('ClientStream', true, false),
    Both: definition('Both', true, true),
};
const Echo = grpc.makeGenericClientConstructor(
    { ...METHODS, Nothing: definition('Nothing', false, false) }, SERVICE);

const HANDLERS = {
    Unary(call, reply) {
        const trailers = new grpc.Metadata();
        for (const value of call.metadata.get('x-sent')) trailers.set('x-seen', value);
        for (const value of call.metadata.get('raw-bin')) trailers.set('raw-bin', value);
        const text = call.request.toString('latin1');
        if (text === 'fail') {
            trailers.set('grpc-status-details-bin', Buffer.from([8, 9, 0, 255]));
            const code = grpc.status.FAILED_PRECONDITION;
            reply({ code, details: 'n\u00e3o 100%', metadata: trailers });
        } else if (text === 'remaining') {
            reply(null, Buffer.from(String(call.getDeadline() - Date.now())), trailers);
        } else if (text === 'wait') {
            call.on('cancelled', () => server_side.emit('cancelled'));
            server_side.emit('waiting');
        } else {
            reply(null, call.request, trailers);
        }
    },
    ServerStream(call) {
        const count = Number(call.request.toString());
        for (let index = 0; index < count; index++) call.write(Buffer.from(String(index)));
        call.end();
    },
    ClientStream(call, reply) {
        let bytes = 0;
        call.on('data', (message) => { bytes += message.length; });
        call.on('end', () => reply(null, Buffer.from(String(bytes))));
    },
    Both(call) {
        call.on('data', (message) => call.write(Buffer.concat([message, message])));
        call.on('end', () => call.end());
    },
};

function startServer(plainPort, tlsPort, cert, key) {
    const server = new grpc.Server({ 'grpc.max_receive_message_length': MESSAGE_BYTES_MAX });
    server.addService(METHODS, HANDLERS);
    const pair = { cert_chain: readFileSync(cert), private_key: readFileSync(key) };
    const bind = (port, credentials) => new Promise((resolve, reject) => {
        const bound = (error) => (error ? reject(error) : resolve());
        server.bindAsync(`127.0.0.1:${port}`, credentials, bound);
    });
    return Promise.all([
        bind(plainPort, grpc.ServerCredentials.createInsecure()),
        bind(tlsPort, grpc.ServerCredentials.createSsl(null, [pair], false)),
    ]).then(() => server);
}

// The deadline of a call that is to be answered.
const soon = () => ({ deadline: Date.now() + 30_000 });

function unary(client, request, { name = 'Unary', options = soon() } = {}) {
    return new Promise((resolve, reject) => {
        const taken = (error, reply) => (error ? reject(error) : resolve(reply));
        client[name](Buffer.from(request), new grpc.Metadata(), options, taken);
    });
}

const failure = (promise) => promise.then(() => assert.fail('no error'), (error) => error);

const CASES = {
    async unary(client) {
        assert.equal((await unary(client, 'hello')).toString(), 'hello');
    },
    async trailers(client) {
        const metadata = new grpc.Metadata();
        metadata.set('x-sent', 'a');
        metadata.set('raw-bin', Buffer.from([0, 255]));
        const call = client.Unary(Buffer.from('x'), metadata, soon(), () => {});
        const [status] = await once(call, 'status');
        assert.deepEqual(status.metadata.get('x-seen'), ['a']);
        assert.deepEqual(status.metadata.get('raw-bin'), [Buffer.from([0, 255])]);
    },
    async large(client) {
        const message = Buffer.alloc(3_000_000, 'abcdefg');
        assert.ok((await unary(client, message)).equals(message));
    },
    async error(client) {
        const error = await failure(unary(client, 'fail'));
        assert.equal(error.code, grpc.status.FAILED_PRECONDITION);
        assert.equal(error.details, 'n\u00e3o 100%');
        const details = error.metadata.get('grpc-status-details-bin');
        assert.deepEqual(details, [Buffer.from([8, 9, 0, 255])]);
    },
    async unknown_method(client) {
        const error = await failure(unary(client, '', { name: 'Nothing' }));
        assert.equal(error.code, grpc.status.UNIMPLEMENTED);
    },
    async server_stream(client) {
        const got = [];
        for await (const message of client.ServerStream(Buffer.from('500'), soon())) {
            got.push(Number(message.toString()));
        }
        assert.deepEqual(got, Array.from({ length: 500 }, (_, index) => index));
    },
    async client_stream(client) {
        const reply = await new Promise((resolve, reject) => {
            const taken = (error, bytes) => (error ? reject(error) : resolve(bytes));
            const call = client.ClientStream(soon(), taken);
            for (let index = 0; index < 300; index++) call.write(Buffer.alloc(1000));
            call.end();
        });
        assert.equal(reply.toString(), '300000');
    },
    async both_in_turn(client) {
        const call = client.Both(soon());
        for (let index = 0; index < 50; index++) {
            call.write(Buffer.from(`${index}.`));
            const [echo] = await once(call, 'data');
            assert.equal(echo.toString(), `${index}.${index}.`);
        }
        call.end();
        await once(call, 'end');
    },
    async many_at_once(client) {
        const calls = Array.from({ length: 200 }, (_, index) => unary(client, String(index)));
        const replies = await Promise.all(calls);
        replies.forEach((reply, index) => assert.equal(reply.toString(), String(index)));
    },
    async cancel(client) {
        const waiting = once(server_side, 'waiting');
        const cancelled = once(server_side, 'cancelled');
        const call = client.Unary(Buffer.from('wait'), soon(), () => {});
        await waiting;
        call.cancel();
        await cancelled;
    },
    async deadline(client) {
        const cancelled = once(server_side, 'cancelled');
        const options = { deadline: Date.now() + 300 };
        const error = await failure(unary(client, 'wait', { options }));
        assert.equal(error.code, grpc.status.DEADLINE_EXCEEDED);
        await cancelled;
    },
    async remaining(client) {
        const options = { deadline: Date.now() + 25_000 };
        const left = Number(await unary(client, 'remaining', { options }));
        assert.ok(left > 0 && left <= 25_000, String(left));
    },
};

function connect(target, ca) {
    const [kind, address] = target.split('=');
    const options = { 'grpc.max_receive_message_length': MESSAGE_BYTES_MAX };
    if (kind === 'h2c') return new Echo(address, grpc.credentials.createInsecure(), options);
    options['grpc.ssl_target_name_override'] = 'edge.test';
    return new Echo(address, grpc.credentials.createSsl(readFileSync(ca)), options);
}

async function inTime(work) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error('no answer')), CASE_LIMIT_MS);
    });
    try {
        await Promise.race([work, late]);
    } finally {
        clearTimeout(timer);
    }
}

const [plainPort, tlsPort, cert, key, ca, ...targets] = process.argv.slice(2);
const server = await startServer(plainPort, tlsPort, cert, key);
let passed = 0;
let failed = 0;
for (const target of targets) {
    const client = connect(target, ca);
    for (const [name, run] of Object.entries(CASES)) {
        try {
            await inTime(run(client));
            passed += 1;
        } catch (error) {
            failed += 1;
            console.log(`${target} ${name}: ${error.stack}`);
        }
    }
    client.close();
}
server.forceShutdown();
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
